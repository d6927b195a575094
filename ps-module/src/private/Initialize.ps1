# Runs at import, after every function is known. The library is loaded by the first command that needs it.
$script:ModuleFolder = $PSScriptRoot
$script:AbiVersion = 1
$script:IsDesktop = $PSVersionTable['PSEdition'] -ne 'Core'
$script:Native = $null
$script:Connection = $null
$script:PoolNames = $null
Import-CsbTranslation $PSScriptRoot
Register-CsbCompleter
$ExecutionContext.SessionState.Module.OnRemove = {
    if ($script:Connection) { Close-CsbService $script:Connection }
    $script:Connection = $null
}
