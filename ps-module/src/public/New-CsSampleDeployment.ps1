function New-CsSampleDeployment {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.SampleDeployment')]
    param(
        [Parameter(Mandatory, Position = 0)]
        [ValidateNotNullOrEmpty()]
        [string] $Path,

        [ValidateRange(0, 1000000)]
        [int] $Users,

        [ValidateRange(0, 10000)]
        [int] $ContactsPerUser,

        [ValidateRange(0, 1000000)]
        [int] $Files
    )
    Import-CsbPreference $PSCmdlet
    $folder = Resolve-CsbPath $PSCmdlet $Path
    if ($folder.Failure) { Write-CsbFailure $PSCmdlet $folder.Failure $Path -Terminating }
    $question = Get-CsbText 'QuestionSample' $folder.Value
    if (-not $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }
    $request = @{ request = 'createSampleDeployment'; folder = $folder.Value }
    if ($PSBoundParameters.ContainsKey('Users')) { $request['users'] = $Users }
    if ($PSBoundParameters.ContainsKey('ContactsPerUser')) { $request['contactsPerUser'] = $ContactsPerUser }
    if ($PSBoundParameters.ContainsKey('Files')) { $request['files'] = $Files }

    Write-Verbose (Get-CsbText 'SampleMaking')
    $service = Open-CsbService ''
    if ($service.Failure) { Write-CsbFailure $PSCmdlet $service.Failure $null -Terminating }
    try {
        $reply = Invoke-CsbRequest $service.Value $request
    } finally {
        Close-CsbService $service.Value
    }
    if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $folder.Value -Terminating }
    $connection = Connect-CsbService ([string] $reply.Value.deploymentFile)
    if ($connection.Failure) { Write-CsbFailure $PSCmdlet $connection.Failure $folder.Value -Terminating }
    ConvertTo-CsbObject $reply.Value 'CsBackup.SampleDeployment'
}
