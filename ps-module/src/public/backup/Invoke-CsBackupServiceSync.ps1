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

        [switch] $GiveBack,

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
    begin {
        # A module that is named alone asks for what its pool's partner lost, but not where several pools are piped: whether they are
        # shows with the second one, and the first one waits for it.
        $first = $null
        $isAlone = $true
    }
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $modules = @(Get-CsbModuleList $BackupModule)
        $request = @{
            poolFqdn = $PoolFqdn; modules = $modules; localStore = $LocalStore.IsPresent
            force = $Force.IsPresent; verify = $Verify.IsPresent; acceptDeletions = $AcceptDeletions.IsPresent
        }
        if ($PSBoundParameters.ContainsKey('WaitForLease')) { $request['waitForLeaseMs'] = [long] $WaitForLease.TotalMilliseconds }
        $question = 'QuestionSync'
        if ($GiveBack) { $question = 'QuestionSyncGivingBack' }
        if ($PSBoundParameters.ContainsKey('GiveBack')) { $request['giveBack'] = $GiveBack.IsPresent }
        $command = @{
            Cmdlet = $PSCmdlet; Name = 'Invoke-CsBackupServiceSync'; Job = 'sync'; Request = $request
            Report = $Report; PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = $question
            Parameters = @{} + $PSBoundParameters
        }
        $asksUnlessSeveral = $modules.Count -eq 1 -and $modules -notcontains 'CentralMgmt.CMSMaster' -and -not $request.ContainsKey('giveBack')
        if (-not $asksUnlessSeveral -or -not $MyInvocation.ExpectingInput) {
            Invoke-CsbPoolCommand $command
            return
        }
        if ($isAlone -and -not $first) {
            $first = $command
            return
        }
        if ($isAlone) { Write-Verbose (Get-CsbText 'SeveralPoolsGetNothingBack') }
        $isAlone = $false
        foreach ($several in @($first, $command) | Where-Object { $_ }) {
            $several.Request['giveBack'] = $false
            $several.Parameters['GiveBack'] = $false
            $first = $null
            Invoke-CsbPoolCommand $several
        }
    }
    end {
        if ($first) { Invoke-CsbPoolCommand $first }
    }
}
