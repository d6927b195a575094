# A script module does not see the preferences that a calling script has set for itself; a compiled cmdlet would,
# and scripts that begin with $ErrorActionPreference = 'Stop' rely on it.
function Import-CsbPreference {
    param($Cmdlet)
    $bound = $Cmdlet.MyInvocation.BoundParameters
    foreach ($name in $script:Preferences.Keys) {
        if ($bound.ContainsKey($script:Preferences[$name])) { continue }
        $value = $Cmdlet.SessionState.PSVariable.GetValue($name)
        # Mostly both see the same; looking is cheaper than setting.
        if ($null -eq $value -or $value -eq $ExecutionContext.SessionState.PSVariable.GetValue($name)) { continue }
        Set-Variable -Name $name -Value $value -Scope 1 -WhatIf:$false -Confirm:$false
    }
}

$script:Preferences = @{
    ConfirmPreference = 'Confirm'; ErrorActionPreference = 'ErrorAction'; InformationPreference = 'InformationAction'
    ProgressPreference = 'ProgressAction'; VerbosePreference = 'Verbose'; WarningPreference = 'WarningAction'; WhatIfPreference = 'WhatIf'
}
