function Restore-CsPoolBackup {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, DefaultParameterSetName = 'Revision', PositionalBinding = $false)]
    [OutputType('CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [Parameter(ParameterSetName = 'At', Mandatory, HelpMessage = 'A date and time: the last state at or before it is taken.')]
        [datetime] $At,

        [Parameter(ParameterSetName = 'Revision', Mandatory, ValueFromPipelineByPropertyName,
            HelpMessage = 'Number of the state as Get-CsPoolBackupHistory lists it.')]
        [ValidateRange(0, [int]::MaxValue)]
        [int] $Revision,

        [Parameter(ValueFromPipelineByPropertyName)]
        [ValidateSet('UserServices.PresenceFocus', 'ConfServices.DataConf', 'PresenceFocus', 'DataConf')]
        [string] $BackupModule,

        [ValidateNotNullOrEmpty()]
        [SupportsWildcards()]
        [string[]] $Include,

        [Parameter(Mandatory, Position = 1, HelpMessage = 'Path of the file, or of the folder, that is written. Nothing may be there yet.')]
        [ValidateNotNullOrEmpty()]
        [string] $Path,

        [CsBackupDurationAttribute()]
        [timespan] $WaitForLease,

        [switch] $LocalStore,

        [ValidateNotNullOrEmpty()]
        [string] $Report,

        [switch] $Force,

        [switch] $PassThru,

        [switch] $AsJob
    )
    process {
        Import-CsbPreference $PSCmdlet
        if ($Force -and -not $PSBoundParameters.ContainsKey('Confirm')) { $ConfirmPreference = 'None' }
        $file = Resolve-CsbPath $PSCmdlet $Path
        if ($file.Failure) { Write-CsbFailure $PSCmdlet $file.Failure $PoolFqdn -Terminating }
        # Patterns name files, which only a content store has.
        $of = if ($BackupModule) { $BackupModule } elseif ($Include) { 'DataConf' } else { 'PresenceFocus' }
        $request = @{ poolFqdn = $PoolFqdn; module = $of; path = $file.Value; localStore = $LocalStore.IsPresent }
        if ($Include) { $request['include'] = @($Include) }
        $what = if ($of -like '*DataConf') { 'QuestionRestoreContent' } else { 'QuestionRestore' }
        if ($PSCmdlet.ParameterSetName -eq 'At') {
            # The library's times are finer than PowerShell's: the state that a time was taken from is at it, and not after it.
            $request['at'] = $At.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ss.fffffff', [System.Globalization.CultureInfo]::InvariantCulture) + '99Z'
            $question = $what + 'At'
            $state = $At.ToLocalTime()
        } else {
            $request['revision'] = $Revision
            $question = $what + 'Revision'
            $state = $Revision
        }
        if ($PSBoundParameters.ContainsKey('WaitForLease')) { $request['waitForLeaseMs'] = [long] $WaitForLease.TotalMilliseconds }
        # What runs in the background has a location of its own.
        $parameters = @{} + $PSBoundParameters
        $parameters['Path'] = $file.Value
        $parameters['BackupModule'] = $of
        Invoke-CsbPoolCommand @{
            Cmdlet = $PSCmdlet; Name = 'Restore-CsPoolBackup'; Job = 'restore'; Request = $request; Report = $Report
            PassThru = $PassThru; Force = $Force; AsJob = $AsJob; Question = $question; Details = $state, $file.Value
            Parameters = $parameters
        }
    }
}
