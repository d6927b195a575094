function Backup-CsPool {
    <#
    .SYNOPSIS
    Creates a backup copy of a pool at its backup pool.

    .DESCRIPTION
    Copies the user data and the conference data of a Registrar pool to its backup pool. If the pool fails, its users are
    failed over and log on through the backup pool, with their data, until their home pool has been restored.

    Only what changed since the last backup travels. An item that cannot be copied is named in a warning and in the report,
    and tried again by the next backup; everything else is copied. On success nothing is output.

    To list the roles that this cmdlet has been assigned to:
    Get-CsAdminRole | Where-Object {$_.Cmdlets -match "Backup-CsPool"}

    .PARAMETER PoolFqdn
    Fully qualified domain name of the pool being backed up, for example atl-cs-001.litwareinc.com. Compared without case.

    .PARAMETER Category
    The kind of data to back up: UserData (user store and content store) or CMS (Central Management store). All of it by default.

    .PARAMETER FullBackup
    Does not begin before the backup service has reached its final state: nothing left to export, and all of it imported.
    A pool reaches it only while it makes no changes. Cannot be used together with -SteadyState.

    .PARAMETER SteadyState
    Does not begin before the backup service has reached a steady state: every pending change fits into one batch.
    Cannot be used together with -FullBackup.

    .PARAMETER FailedOverPoolOnly
    Backs up only a pool that is failed over. Needs -FullBackup.

    .PARAMETER WaitTime
    How long to wait between two looks at the state that -FullBackup or -SteadyState waits for. A bare number means seconds;
    hh:mm:ss and a TimeSpan mean what they say.

    .PARAMETER RetryCount
    How often a failed call or an unmet state is tried again before the command fails.

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
    None. Backup-CsPool does not accept pipelined data.

    .OUTPUTS
    None, or CsBackup.Report with -PassThru, or a job with -AsJob.

    .EXAMPLE
    Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com"

    Backs up the pool atl-cs-001.litwareinc.com.

    .EXAMPLE
    Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -SteadyState

    Backs up the pool once its backup service is in steady state.

    .EXAMPLE
    Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -WhatIf

    Prints what the backup would do, step by step, and changes nothing.

    .EXAMPLE
    (Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -Verify -PassThru).Modules | Select-Object Module -ExpandProperty Verification

    Backs up the pool, compares all of it with its copy, and shows what differed and was repaired.

    .EXAMPLE
    $report = Backup-CsPool -PoolFqdn "atl-cs-001.litwareinc.com" -Report ./backup.html -PassThru
    $report.Modules | Select-Object Module, Outcome, Duration

    Backs up the pool, writes the log to backup.html and looks at the report.

    .LINK
    Invoke-CsBackupServiceSync

    .LINK
    Get-CsBackupServiceStatus

    .LINK
    Get-CsPoolBackupRelationship
    #>
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0)]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [ValidateSet('UserData', 'CMS')]
        [string] $Category,

        [switch] $FullBackup,

        [switch] $SteadyState,

        [switch] $FailedOverPoolOnly,

        [CsBackupDurationAttribute()]
        [timespan] $WaitTime,

        [ValidateRange(0, [int]::MaxValue)]
        [int] $RetryCount,

        [switch] $LocalStore,

        [ValidateNotNullOrEmpty()]
        [string] $Report,

        [switch] $Verify,

        [switch] $Force,

        [switch] $PassThru,

        [switch] $AsJob
    )
    Import-CsbPreference $PSCmdlet
    if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
    if ($FullBackup -and $SteadyState) {
        Write-CsbFailure $PSCmdlet (New-CsbFailure 'FullBackupWithSteadyState' (Get-CsbText 'FullBackupWithSteadyState') (
                Get-CsbText 'FullBackupWithSteadyStateAdvice')) $PoolFqdn -Terminating
    }
    if ($FailedOverPoolOnly -and -not $FullBackup) {
        Write-CsbFailure $PSCmdlet (New-CsbFailure 'FailedOverPoolOnlyWithoutFullBackup' (Get-CsbText 'FailedOverPoolOnly') (
                Get-CsbText 'FailedOverPoolOnlyAdvice')) $PoolFqdn -Terminating
    }
    $request = @{
        poolFqdn = $PoolFqdn; category = Get-CsbCategory $Category; fullBackup = $FullBackup.IsPresent
        steadyState = $SteadyState.IsPresent; failedOverPoolOnly = $FailedOverPoolOnly.IsPresent
        localStore = $LocalStore.IsPresent; force = $Force.IsPresent; verify = $Verify.IsPresent
    }
    if ($PSBoundParameters.ContainsKey('RetryCount')) { $request['retryCount'] = $RetryCount }
    if ($PSBoundParameters.ContainsKey('WaitTime')) { $request['waitTimeMs'] = [long] $WaitTime.TotalMilliseconds }
    Invoke-CsbPoolCommand @{
        Cmdlet = $PSCmdlet; Name = 'Backup-CsPool'; Function = 'csb_backup_start'; Request = $request; Report = $Report
        PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = 'QuestionBackup'; Parameters = @{} + $PSBoundParameters
    }
}
