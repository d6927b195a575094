# What a session pays that compiles its P/Invoke signatures instead of importing a module.
Import-Module Microsoft.PowerShell.Utility
$source = 'using System.Runtime.InteropServices; public static class Native { [DllImport("cs_backup")] public static extern uint csb_abi_version(); }'
"add-type $((Measure-Command { Add-Type -TypeDefinition $source }).TotalMilliseconds)"
