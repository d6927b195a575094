# A script module does not see the preferences that a calling script has set for itself; a compiled cmdlet would,
# and scripts that begin with $ErrorActionPreference = 'Stop' rely on it.
function Import-CsbPreference {
    param($Cmdlet)
    $theirs = $Cmdlet.SessionState.PSVariable
    $ours = $ExecutionContext.SessionState.PSVariable
    foreach ($name in 'ConfirmPreference', 'ErrorActionPreference', 'InformationPreference', 'ProgressPreference', 'VerbosePreference',
        'WarningPreference', 'WhatIfPreference') {
        $value = $theirs.GetValue($name)
        # Mostly both see the same; looking is cheaper than setting, and texts are compared faster than enumerations.
        if ([string] $value -ceq [string] $ours.GetValue($name) -or $null -eq $value) { continue }
        if ($Cmdlet.MyInvocation.BoundParameters.ContainsKey($script:ParameterOfPreference[$name])) { continue }
        Set-Variable -Name $name -Value $value -Scope 1 -WhatIf:$false -Confirm:$false
    }
}

$script:ParameterOfPreference = @{
    ConfirmPreference = 'Confirm'; ErrorActionPreference = 'ErrorAction'; InformationPreference = 'InformationAction'
    ProgressPreference = 'ProgressAction'; VerbosePreference = 'Verbose'; WarningPreference = 'WarningAction'; WhatIfPreference = 'WhatIf'
}
