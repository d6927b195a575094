function Invoke-CsBackupServiceSync {
    <#
    .SYNOPSIS
    Synchronizes a pool and its backup pool now, without waiting for the backup service's next cycle.

    .DESCRIPTION
    Copies only what differs between the two pools. What the backup pool has lost of its own data and this pool still holds
    for it is carried back, so this is also the way to restore a pool's lost conference content: synchronize its backup pool.

    To list the roles that this cmdlet has been assigned to:
    Get-CsAdminRole | Where-Object {$_.Cmdlets -match "Invoke-CsBackupServiceSync"}

    .PARAMETER PoolFqdn
    Fully qualified domain name of the pool to synchronize, for example atl-cs-001.litwareinc.com. Accepts names, and objects
    with a property PoolFqdn, Fqdn or Identity, from the pipeline.

    .PARAMETER BackupModule
    The kind of data to synchronize: UserServices.PresenceFocus, ConfServices.DataConf or CentralMgmt.CMSMaster, or one of the
    short names PresenceFocus, DataConf, CMSMaster, All. All of it by default.

    .PARAMETER LocalStore
    Reads the topology from the local replica of the Central Management store instead of the store itself.

    .PARAMETER Report
    Path of the HTML log. A file that is there is overwritten. By default the log goes to the user's temporary folder;
    -Verbose says where.

    .PARAMETER Verify
    Compares every row, file and document of the pool with its copy, however little has changed, and repairs what differs.
    What was found stands in the report; -PassThru returns it as Verification of each module.

    .PARAMETER Force
    Does not ask, hides warnings, and allows more deletions at the backup pool than the safety share. -WhatIf still wins.

    .PARAMETER PassThru
    Returns the job's report.

    .PARAMETER AsJob
    Runs in the background and returns the PowerShell job at once.

    .INPUTS
    System.String: the fully qualified domain name of a pool.

    .OUTPUTS
    None, or CsBackup.Report with -PassThru, or a job with -AsJob.

    .EXAMPLE
    Invoke-CsBackupServiceSync -PoolFqdn "atl-cs-001.litwareinc.com"

    Synchronizes the pool atl-cs-001.litwareinc.com and its backup pool.

    .EXAMPLE
    Get-CsPool -Site Atlanta | Invoke-CsBackupServiceSync

    Synchronizes every pool of a site, one after the other.

    .EXAMPLE
    Invoke-CsBackupServiceSync -PoolFqdn "chi-cs-001.litwareinc.com" -BackupModule ConfServices.DataConf

    Restores the conference content that the partner of chi-cs-001 has lost.

    .LINK
    Backup-CsPool

    .LINK
    Get-CsBackupServiceStatus
    #>
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName)]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [ValidateSet('All', 'UserServices.PresenceFocus', 'ConfServices.DataConf', 'CentralMgmt.CMSMaster', 'PresenceFocus',
            'DataConf', 'CMSMaster')]
        [string] $BackupModule,

        [switch] $LocalStore,

        [ValidateNotNullOrEmpty()]
        [string] $Report,

        [switch] $Verify,

        [switch] $Force,

        [switch] $PassThru,

        [switch] $AsJob
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $request = @{
            poolFqdn = $PoolFqdn; modules = @(Get-CsbModuleList $BackupModule); localStore = $LocalStore.IsPresent
            force = $Force.IsPresent; verify = $Verify.IsPresent
        }
        Invoke-CsbPoolCommand @{
            Cmdlet = $PSCmdlet; Name = 'Invoke-CsBackupServiceSync'; Function = 'csb_sync_start'; Request = $request
            Report = $Report; PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = 'QuestionSync'
            Parameters = @{} + $PSBoundParameters
        }
    }
}
