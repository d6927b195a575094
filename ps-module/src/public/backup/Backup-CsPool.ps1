function Backup-CsPool {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0, HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [ValidateSet('UserData', 'CMS')]
        [string] $Category,

        [switch] $FullBackup,

        [switch] $SteadyState,

        [switch] $FailedOverPoolOnly,

        [CsBackupDurationAttribute()]
        [timespan] $WaitTime,

        [CsBackupDurationAttribute()]
        [timespan] $WaitForLease,

        [ValidateRange(0, [int]::MaxValue)]
        [int] $RetryCount,

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
            acceptDeletions = $AcceptDeletions.IsPresent
        }
        if ($PSBoundParameters.ContainsKey('RetryCount')) { $request['retryCount'] = $RetryCount }
        if ($PSBoundParameters.ContainsKey('WaitTime')) { $request['waitTimeMs'] = [long] $WaitTime.TotalMilliseconds }
        if ($PSBoundParameters.ContainsKey('WaitForLease')) { $request['waitForLeaseMs'] = [long] $WaitForLease.TotalMilliseconds }
        Invoke-CsbPoolCommand @{
            Cmdlet = $PSCmdlet; Name = 'Backup-CsPool'; Job = 'backup'; Request = $request; Report = $Report
            PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = 'QuestionBackup'; Parameters = @{} + $PSBoundParameters
        }
    }
}
