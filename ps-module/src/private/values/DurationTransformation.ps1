# The pages give durations in seconds. PowerShell alone binds 30 to 3 microseconds and '30' to 30 days.
class CsBackupDurationAttribute : System.Management.Automation.ArgumentTransformationAttribute {
    [int] $MinimumSeconds = 0
    [int] $MaximumSeconds = [int]::MaxValue

    [object] Transform([System.Management.Automation.EngineIntrinsics] $engineIntrinsics, [object] $inputData) {
        $duration = ConvertTo-CsbDuration $inputData
        $problem = ''
        if ($null -eq $duration) {
            $problem = Get-CsbText 'DurationInvalid' "$inputData"
        } elseif ($duration.TotalSeconds -lt $this.MinimumSeconds -or $duration.TotalSeconds -gt $this.MaximumSeconds) {
            $problem = Get-CsbText 'DurationOutOfRange' @(
                $duration, [timespan]::FromSeconds($this.MinimumSeconds), [timespan]::FromSeconds($this.MaximumSeconds))
        }
        if ($problem) { throw (New-Object System.Management.Automation.ArgumentTransformationMetadataException $problem) }
        return $duration
    }
}
