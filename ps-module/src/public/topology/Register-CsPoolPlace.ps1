function Register-CsPoolPlace {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(PositionalBinding = $false)]
    [OutputType('CsBackup.PlaceRegistration')]
    param(
        [Parameter(Mandatory, Position = 0, ValueFromPipeline, ValueFromPipelineByPropertyName,
            HelpMessage = 'Name of the pool as Get-CsPool lists it, for example atl-cs-001.litwareinc.com.')]
        [Alias('Fqdn', 'Identity')]
        [ValidateNotNullOrEmpty()]
        [string] $PoolFqdn,

        [Parameter(Mandatory, HelpMessage = 'What the partner may do: Read, and with it Write, GiveBack, Cms.')]
        [ValidateSet('Read', 'Write', 'GiveBack', 'Cms')]
        [string[]] $Grant,

        [ValidateNotNullOrEmpty()]
        [string] $PublicKey,

        [switch] $LocalStore
    )
    process {
        Import-CsbPreference $PSCmdlet
        $connection = Resolve-CsbConnection $PSCmdlet
        $grants = @($Grant | ForEach-Object { if ($_ -eq 'GiveBack') { 'give-back' } else { $_.ToLowerInvariant() } })
        $request = @{ request = 'registerPoolPlace'; poolFqdn = $PoolFqdn; grants = $grants; localStore = $LocalStore.IsPresent }
        if ($PublicKey) { $request['publicKey'] = $PublicKey }
        $reply = Invoke-CsbRequest $connection $request
        if ($reply.Failure) {
            Write-CsbFailure $PSCmdlet $reply.Failure $PoolFqdn
        } else {
            ConvertTo-CsbObject $reply.Value 'CsBackup.PlaceRegistration'
        }
    }
}
