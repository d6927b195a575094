# One bar for the job and one below it for each module. A bar is drawn at most twice a second, and what it shows already only once more (what
# comes within a fifth of a second after something else PowerShell does not show before something more comes). Each time PowerShell asks the
# terminal where its cursor is, and if Ctrl+C comes before it has read the answer, the kernel throws that away, and .NET waits for it for ever.
function New-CsbProgress {
    param([string] $Activity)
    @{
        Activity = $Activity; Bars = [ordered] @{}; Steps = 0; Done = 0; Title = ''; Status = Get-CsbText 'ProgressPreparing'
        Shown = $false; Clock = [System.Diagnostics.Stopwatch]::StartNew()
    }
}

function Write-CsbJobProgress {
    param($Progress)
    $percent = -1
    if ($Progress.Steps) { $percent = [System.Math]::Min(100, [int] (100 * $Progress.Done / $Progress.Steps)) }
    Write-Progress -Id 4100 -Activity $Progress.Activity -Status $Progress.Status -PercentComplete $percent
    $Progress.Shown = $true
}

function Write-CsbModuleProgress {
    param($Progress, $Entry, [string] $Note)
    $module = [string] (Get-CsbField $Entry 'module' '')
    if (-not $module) { return }
    if (-not $Progress.Bars.Contains($module)) {
        # The short name leaves room for the numbers where a terminal is narrow.
        $Progress.Bars[$module] = @{ Id = 4101 + $Progress.Bars.Count; Drawn = -1000; Activity = $module.Split('.')[-1]; Shown = ''; Again = $false; Note = $false; Open = $false }
    }
    $bar = $Progress.Bars[$module]
    $now = $Progress.Clock.ElapsedMilliseconds
    if ($bar.Note -eq [bool] $Note -and $now - $bar.Drawn -lt 500) { return }
    $percent = -1
    $seconds = -1
    $status = $Note
    if (-not $Note) {
        $done = Get-CsbField $Entry 'itemsDone' 0
        $total = Get-CsbField $Entry 'itemsTotal'
        $bytes = Get-CsbField $Entry 'bytesDone' 0
        $bytesTotal = Get-CsbField $Entry 'bytesTotal'
        $rate = Get-CsbField $Entry 'itemsPerSecond'
        $left = Get-CsbField $Entry 'timeLeftMs'
        if ($total) {
            $status = Get-CsbText 'ProgressOf' $done, $total -Count $total
            $percent = [System.Math]::Min(100, [int] (100.0 * $done / $total))
        } elseif ($bytesTotal -and -not $done) {
            $status = Get-CsbText 'ProgressBytes' (Format-CsbSize $bytes), (Format-CsbSize $bytesTotal)
        } else {
            $status = Get-CsbText 'ProgressItems' $done -Count $done
        }
        if ($bytes -and ($done -or -not $bytesTotal)) { $status += ', ' + (Format-CsbSize $bytes) }
        if ($bytesTotal -and $bytes -and -not $total) { $percent = [System.Math]::Min(100, [int] (100.0 * $bytes / $bytesTotal)) }
        $line = Get-CsbField $Entry 'lineBytes'
        if ($line) { $status += ', ' + (Get-CsbText 'ProgressLine' (Format-CsbSize $line)) }
        if ($rate) { $status += ', ' + (Get-CsbText 'ProgressRate' $rate) }
        if ($null -ne $left) { $seconds = [int] [System.Math]::Ceiling($left / 1000) }
        $activity = [string] (Get-CsbField $Entry 'activity' '')
        if ($activity) { $status = "${activity}: $status" }
    }
    $shown = "$status|$percent|$seconds"
    $again = $bar.Open -and $bar.Shown -eq $shown
    if ($again -and $bar.Again) { return }
    $bar.Drawn = $now
    $bar.Shown = $shown
    $bar.Again = $again
    $bar.Note = [bool] $Note
    $bar.Open = $true
    Write-Progress -Id $bar.Id -ParentId 4100 -Activity $bar.Activity -Status $status -PercentComplete $percent -SecondsRemaining $seconds
    $Progress.Shown = $true
}

function Complete-CsbModuleProgress {
    param($Progress, [string] $Module)
    if ($Module -and $Progress.Bars.Contains($Module) -and $Progress.Bars[$Module].Open) {
        $bar = $Progress.Bars[$Module]
        Write-Progress -Id $bar.Id -ParentId 4100 -Activity $bar.Activity -Completed
        $bar.Open = $false
    }
}

function Complete-CsbProgress {
    param($Progress)
    foreach ($module in @($Progress.Bars.Keys)) { Complete-CsbModuleProgress $Progress $module }
    if ($Progress.Shown) { Write-Progress -Id 4100 -Activity $Progress.Activity -Completed }
}
