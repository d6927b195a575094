# Runs one job to its end, with progress; one that only plans writes a log only where one is named. Returns @{ Value = report; Failure; ReportFile }.
# Ctrl+C ends the loop in finally, which cancels the job and still writes what it did.
function Invoke-CsbJob {
    param($Connection, [System.Collections.IDictionary] $Request, [string] $Command, [string] $ReportPath)
    $silent = [bool] $Request['whatIf']
    $progress = New-CsbProgress (Get-CsbText 'ProgressActivity' $Command, $Request['poolFqdn'])
    $result = @{ Value = $null; Failure = $null; ReportFile = '' }
    $after = [uint64] 0
    $jobId = ''
    $answer = $null
    $ended = $false
    $interrupted = $true
    # A job that knows no pool has no plan; its report says only why, and is kept nowhere.
    $isKnown = $false
    try {
        # One statement: Ctrl+C comes before the job is started, or after its number is known.
        $answer = $Connection.Start($Request)
        if ($answer.Failure) {
            $interrupted = $false
            return Get-CsbResult $answer
        }
        $job = $answer.Job
        if (-not $silent) { Write-CsbJobProgress $progress }
        while (-not $ended) {
            $poll = Read-CsbNativeJob $Connection $job $after
            if ($poll.Failure) {
                $result.Failure = $poll.Failure
                break
            }
            $jobId = [string] $poll.Value.jobId
            $after = [uint64] $poll.Value.lastSeq
            foreach ($entry in @($poll.Value.events)) {
                if ($entry.event -eq 'finished') { $ended = $true }
                if ($entry.event -eq 'started') { $isKnown = [bool] @(Get-CsbField (Get-CsbField $entry 'plan') 'steps' @()).Count }
                if (-not $silent) { Write-CsbEvent $progress $entry }
            }
            if (-not $ended -and -not $silent) { Initialize-CsbInterruption $Connection }
        }
        $interrupted = $false
    } finally {
        $job = [uint64] 0
        if ($answer) { $job = $answer.Job }
        if ($job -and -not $ended) {
            Stop-CsbNativeJob $Connection $job
            $drain = [System.Diagnostics.Stopwatch]::StartNew()
            while (-not $ended -and $drain.ElapsedMilliseconds -lt 2000) {
                $poll = Read-CsbNativeJob $Connection $job $after
                if ($poll.Failure) { break }
                $jobId = [string] $poll.Value.jobId
                $after = [uint64] $poll.Value.lastSeq
                foreach ($entry in @($poll.Value.events)) { if ($entry.event -eq 'finished') { $ended = $true } }
            }
        }
        if ($ended -and $isKnown -and (-not $silent -or $ReportPath)) {
            $written = Write-CsbReportFile $Connection @{ job = $job; localStore = [bool] $Request['localStore'] } $ReportPath
            if ($written.Failure) { $result.Failure = $written.Failure } else { $result.ReportFile = $written.Value }
        }
        Complete-CsbProgress $progress
        if ($ended) {
            # After Ctrl+C nobody gets the report, and the prompt need not wait for it.
            if (-not $interrupted) {
                $report = Get-CsbNativeReport $Connection $job
                if ($report.Failure) { $result.Failure = $report.Failure } else { $result.Value = $report.Value }
            }
            Clear-CsbNativeJob $Connection $job
        }
        if ($interrupted -and $job -and -not $silent) { Write-Warning (Get-CsbInterruption $Command $jobId $ended $result.ReportFile) }
    }
    $result
}

# After Ctrl+C nothing can be output, but a person wants to know how things stand.
function Get-CsbInterruption {
    param([string] $Command, [string] $JobId, [bool] $Ended, [string] $ReportFile)
    $key = 'InterruptedPending'
    if ($Ended -and $ReportFile) { $key = 'Interrupted' }
    Get-CsbText $key $Command, $JobId, $ReportFile
}

# Goes once, while the session's first job runs anyway, through what Ctrl+C ends with. What a session does for the first time PowerShell
# compiles, and whoever has pressed Ctrl+C would wait for that. Nothing comes of it: no job has the number 0. What throws has no
# place here: -ErrorVariable gets also what is caught.
function Initialize-CsbInterruption {
    param($Connection)
    if ($script:InterruptionIsReady) { return }
    $script:InterruptionIsReady = $true
    Stop-CsbNativeJob $Connection 0
    [void] (Write-CsbReportFile $Connection @{ job = 0; localStore = $true } '')
    Complete-CsbProgress (New-CsbProgress '')
    Clear-CsbNativeJob $Connection 0
    [void] (Get-CsbInterruption '' '' $false '')
}
$script:InterruptionIsReady = $false
