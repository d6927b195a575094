function Remove-CsBackupServiceConfiguration {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.BackupServiceConfiguration')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipelineByPropertyName,
            HelpMessage = 'Global: there is one configuration of the backup service.')]
        [ValidateSet('Global')]
        [string] $Identity,

        [switch] $Force,

        [switch] $PassThru
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        Set-CsbConfiguration @{
            Cmdlet = $PSCmdlet; Request = @{ request = 'resetBackupServiceConfiguration' }
            Question = 'QuestionRemoveConfiguration'; PassThru = $PassThru
        }
    }
}
