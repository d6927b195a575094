# Whether a sample deployment could be made: with its failure nobody need be asked, and a plan says what the run would.
function Test-CsbSample {
    param([System.Collections.IDictionary] $Request)
    $service = Open-CsbService ''
    if ($service.Failure) { return $service }
    $reply = Invoke-CsbRequest $service.Value ($Request + @{ whatIf = $true })
    Close-CsbService $service.Value
    $reply
}

# Makes a sample deployment piece by piece, with progress. Returns @{ Value = reply; Failure }.
# Ctrl+C ends the loop in finally: closing the service gives up what is not finished, and the library removes it.
function New-CsbSample {
    param([System.Collections.IDictionary] $Request)
    $service = Open-CsbService ''
    if ($service.Failure) { return $service }
    $folder = $Request['folder']
    $activity = Get-CsbText 'SampleActivity' $folder
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $drawn = -1000
    $ended = $false
    $shown = $false
    try {
        do {
            $reply = Invoke-CsbRequest $service.Value $Request
            $ended = [bool] $reply.Failure -or $reply.Value.finished
            if (-not $ended -and $clock.ElapsedMilliseconds - $drawn -ge 500) {
                $drawn = $clock.ElapsedMilliseconds
                $percent = [int] [System.Math]::Floor(100 * $reply.Value.itemsDone / $reply.Value.itemsTotal)
                $status = Get-CsbText 'ProgressOf' $reply.Value.itemsDone, $reply.Value.itemsTotal -Count $reply.Value.itemsTotal
                Write-Progress -Id 4120 -Activity $activity -Status $status -PercentComplete $percent
                $shown = $true
            }
        } until ($ended)
    } finally {
        if ($shown) { Write-Progress -Id 4120 -Activity $activity -Completed }
        # Removing very many files takes longer than a person who pressed Ctrl+C should wait; it goes on behind the prompt.
        if ($ended) {
            Close-CsbService $service.Value
        } else {
            Close-CsbService $service.Value -TimeoutMs 100
            $key = 'SampleGivenUp'
            if ([System.IO.Directory]::Exists($folder) -and [System.IO.Directory]::GetFileSystemEntries($folder).Length) {
                $key = 'SampleGivenUpPending'
            }
            Write-Warning (Get-CsbText $key $folder)
        }
    }
    $reply
}
