function New-CsSampleDeployment {
    # .EXTERNALHELP CsBackup-help.xml
    [CmdletBinding(SupportsShouldProcess, PositionalBinding = $false)]
    [OutputType('CsBackup.SampleDeployment')]
    param(
        [Parameter(Mandatory, Position = 0, HelpMessage = 'The folder to make it in, which is empty or does not exist yet.')]
        [ValidateNotNullOrEmpty()]
        [string] $Path,

        [ValidateRange(0, 1000000)]
        [int] $Users,

        [ValidateRange(0, 10000)]
        [int] $ContactsPerUser,

        [ValidateRange(0, 1000000)]
        [int] $Files
    )
    process {
        Import-CsbPreference $PSCmdlet
        $folder = Resolve-CsbPath $PSCmdlet $Path
        if ($folder.Failure) { Write-CsbFailure $PSCmdlet $folder.Failure $Path -Terminating }
        $request = @{ request = 'createSampleDeployment'; folder = $folder.Value; atMostMs = 50 }
        if ($PSBoundParameters.ContainsKey('Users')) { $request['users'] = $Users }
        if ($PSBoundParameters.ContainsKey('ContactsPerUser')) { $request['contactsPerUser'] = $ContactsPerUser }
        if ($PSBoundParameters.ContainsKey('Files')) { $request['files'] = $Files }
        $plan = Test-CsbSample $request
        if ($plan.Failure) { Write-CsbFailure $PSCmdlet $plan.Failure $folder.Value -Terminating }
        $question = Get-CsbText 'QuestionSample' $folder.Value
        if (-not $PSCmdlet.ShouldProcess($question, (Get-CsbText 'ConfirmQuery' $question), (Get-CsbText 'ConfirmCaption'))) { return }

        Write-Verbose (Get-CsbText 'SampleMaking')
        $reply = New-CsbSample $request
        if ($reply.Failure) { Write-CsbFailure $PSCmdlet $reply.Failure $folder.Value -Terminating }
        $connection = Connect-CsbService ([string] $reply.Value.deploymentFile)
        if ($connection.Failure) { Write-CsbFailure $PSCmdlet $connection.Failure $folder.Value -Terminating }
        # These said how far it was.
        foreach ($field in 'finished', 'itemsDone', 'itemsTotal') { $reply.Value.Remove($field) }
        ConvertTo-CsbObject $reply.Value 'CsBackup.SampleDeployment'
    }
}
