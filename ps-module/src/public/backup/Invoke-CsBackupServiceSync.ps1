function Invoke-CsBackupServiceSync {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [ValidateSet('All', 'UserServices.PresenceFocus', 'ConfServices.DataConf', 'CentralMgmt.CMSMaster', 'PresenceFocus',
            'DataConf', 'CMSMaster')]
        [string] $BackupModule,

        [CsBackupDurationAttribute()]
        [timespan] $WaitForLease,

        [switch] $LocalStore,

        [ValidateNotNullOrEmpty()]
        [string] $Report,

        [switch] $Verify,

        [switch] $AcceptDeletions,

        [switch] $Force,

        [switch] $PassThru,

        [switch] $AsJob
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $request = @{
            poolFqdn = $PoolFqdn; modules = @(Get-CsbModuleList $BackupModule); localStore = $LocalStore.IsPresent
            force = $Force.IsPresent; verify = $Verify.IsPresent; acceptDeletions = $AcceptDeletions.IsPresent
        }
        if ($PSBoundParameters.ContainsKey('WaitForLease')) { $request['waitForLeaseMs'] = [long] $WaitForLease.TotalMilliseconds }
        Invoke-CsbPoolCommand @{
            Cmdlet = $PSCmdlet; Name = 'Invoke-CsBackupServiceSync'; Job = 'sync'; Request = $request
            Report = $Report; PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = 'QuestionSync'
            Parameters = @{} + $PSBoundParameters
        }
    }
}
