# The pages give durations in seconds. PowerShell alone binds 30 to 3 microseconds and '30' to 30 days.
class CsBackupDurationAttribute : System.Management.Automation.ArgumentTransformationAttribute {
    [object] Transform([System.Management.Automation.EngineIntrinsics] $engineIntrinsics, [object] $inputData) {
        $duration = ConvertTo-CsbDuration $inputData
        if ($null -eq $duration) {
            throw (New-Object System.Management.Automation.ArgumentTransformationMetadataException (
                    Get-CsbText 'DurationInvalid' "$inputData"))
        }
        return $duration
    }
}
