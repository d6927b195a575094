# Tells what one event of a job says: to the progress bars, and with -Verbose as a story.
function Write-CsbEvent {
    param($Progress, $Entry)
    $module = [string] (Get-CsbField $Entry 'module' '')
    switch ($Entry.event) {
        'started' {
            $Progress.Steps = @(Get-CsbField (Get-CsbField $Entry 'plan') 'steps' @()).Count
            Write-Verbose (Get-CsbText 'EventStarted' $Entry.command, $Entry.poolFqdn, $Progress.Steps)
            Write-CsbJobProgress $Progress
        }
        'stepStarted' {
            $Progress.Title = $Entry.title
            $Progress.Status = Get-CsbText 'ProgressStep' ([System.Math]::Min($Progress.Done + 1, $Progress.Steps)), $Progress.Steps, $Entry.title
            Write-Verbose (Get-CsbText 'EventStepStarted' $Entry.title)
            Write-CsbJobProgress $Progress
        }
        'progress' { Write-CsbModuleProgress $Progress $Entry }
        'stateChanged' { Write-Verbose (Get-CsbText 'EventStateChanged' $module, $Entry.half, $Entry.from, $Entry.to) }
        'warning' { Write-Verbose (Get-CsbText 'EventWarning' $Entry.message) }
        'retrying' {
            $cause = [string] (Get-CsbField (Get-CsbField $Entry 'error') 'message' '')
            $note = Get-CsbText 'EventRetrying' ([timespan]::FromMilliseconds([double] $Entry.delayMs).TotalSeconds), $Entry.attempt, $cause
            Write-Verbose $note
            Write-CsbModuleProgress $Progress $Entry $note
        }
        'stepFinished' {
            $Progress.Done++
            Write-Verbose (Get-CsbText 'EventStepFinished' $Progress.Title, $Entry.outcome)
            Complete-CsbModuleProgress $Progress $module
            Write-CsbJobProgress $Progress
        }
        'finished' {
            Write-Verbose (Get-CsbText 'EventFinished' $Entry.outcome, ([timespan]::FromMilliseconds([double] $Entry.durationMs).TotalSeconds))
        }
    }
}
