# Runs a command of this module as a PowerShell job: in a thread where that is possible, else in a process of its own.
function Start-CsbBackgroundCommand {
    param($Connection, [string] $Name, [System.Collections.IDictionary] $Parameters)
    $arguments = @{}
    foreach ($key in $Parameters.Keys) {
        if ('AsJob', 'WhatIf', 'Confirm' -notcontains $key) {
            $value = $Parameters[$key]
            # A switch does not survive the way to another process.
            if ($value -is [System.Management.Automation.SwitchParameter]) { $value = $value.IsPresent }
            $arguments[$key] = $value
        }
    }
    # An error further down than the first line would be shown with the line.
    $block = [scriptblock]::Create((
            'param($Module, $Library, $Deployment, $Name, $Arguments)',
            'if ($Library) { $env:CSBACKUP_LIBRARY = $Library }',
            'Import-Module $Module', 'Connect-CsDeployment -Path $Deployment', '& $Name @Arguments -Confirm:$false' -join '; '))
    $manifest = [System.IO.Path]::Combine($script:ModuleFolder, 'CsBackup.psd1')
    $job = @{
        Name = '{0} {1}' -f $Name, $arguments['PoolFqdn']; ScriptBlock = $block
        ArgumentList = $manifest, $Connection.Library.File, $Connection.DeploymentFile, $Name, $arguments
    }
    if (Get-Command Start-ThreadJob -ErrorAction Ignore) {
        $job.ArgumentList[1] = ''
        Start-ThreadJob @job
    } else {
        Start-Job @job
    }
}
