function Set-CsBackupServiceConfiguration {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(DefaultParameterSetName = 'Identity', SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.BackupServiceConfiguration')]
    param(
        [Parameter(ParameterSetName = 'Identity', Position = 0)]
        [ValidateSet('Global')]
        [string] $Identity,

        [Parameter(ParameterSetName = 'Instance', Mandatory, ValueFromPipeline,
            HelpMessage = 'What Get-CsBackupServiceConfiguration returned, with properties changed.')]
        [ValidateNotNull()]
        [psobject] $Instance,

        [CsBackupDurationAttribute(MinimumSeconds = 5, MaximumSeconds = 10800)]
        [timespan] $SyncInterval,

        [ValidateRange(1, 1000)]
        [int] $MaxConcurrentCalls,

        [ValidateRange(1, 1000000)]
        [int] $MaxBatchesPerUserStoreSync,

        [ValidateRange(1, 1000000)]
        [int] $MaxBatchesPerCmsSync,

        [ValidateRange(1, 1073741824)]
        [int] $MaxDataConfPackageSizeKB,

        [AllowNull()]
        [AllowEmptyCollection()]
        [string[]] $AuthorizedLocalAccounts,

        [AllowNull()]
        [AllowEmptyCollection()]
        [string[]] $AuthorizedUniversalGroups,

        [switch] $Force,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $settings = Get-CsbSetting $Instance $PSBoundParameters
        if ($settings.Failure) {
            Write-CsbFailure $PSCmdlet $settings.Failure $Instance
            return
        }
        Set-CsbConfiguration @{
            Cmdlet = $PSCmdlet; Request = @{ request = 'setBackupServiceConfiguration'; settings = $settings.Value }
            Question = 'QuestionSetConfiguration'; PassThru = $PassThru
        }
    }
}
