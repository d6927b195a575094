# Ends the command where a pattern of wildcards is none: -like would end it with an error that shows this module's lines.
function Assert-CsbPattern {
    param($Cmdlet, [string[]] $Patterns)
    foreach ($pattern in $Patterns) {
        try {
            [void] ('' -like $pattern)
        } catch {
            if ($global:Error.Count) { $global:Error.RemoveAt(0) }
            $failure = New-CsbFailure 'InvalidArgument' (Get-CsbText 'PatternInvalid' $pattern) (Get-CsbText 'PatternInvalidAdvice')
            Write-CsbFailure $Cmdlet $failure $pattern -Terminating
        }
    }
}
