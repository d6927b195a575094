function Disable-CsPoolBackup {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, ConfirmImpact = 'High', PositionalBinding = $false)]
    [OutputType('CsBackup.RemovedItem', 'CsBackup.Report')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

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
        Invoke-CsbPoolCommand @{
            Cmdlet = $PSCmdlet; Name = 'Disable-CsPoolBackup'; Job = 'disable'; Report = $Report; PassThru = $PassThru; Force = $Force
            Request = @{ poolFqdn = $PoolFqdn; localStore = $LocalStore.IsPresent }; AsJob = $AsJob; Question = 'QuestionDisable'
            Parameters = @{} + $PSBoundParameters; Removes = $true
        }
    }
}
