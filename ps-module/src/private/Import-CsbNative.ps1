# Emits the P/Invoke type for the library at its absolute path: no compiler, 10 ms, both editions.
# A type cannot be unloaded, so every runspace and every re-import of this process shares it through the AppDomain.
# Returns @{ Value = @{ Type; File }; Failure }.
function Import-CsbNative {
    if ($script:Native) { return @{ Value = $script:Native; Failure = $null } }
    $found = Find-CsbLibrary $script:ModuleFolder
    if ($found.Failure) { return $found }
    $file = $found.Value
    $slot = "CsBackup.Native|$script:AbiVersion|$file"
    $type = [System.AppDomain]::CurrentDomain.GetData($slot)
    if (-not $type) {
        $type = New-CsbNativeType $file
        $failure = Test-CsbNativeType $type $file
        if ($failure) { return @{ Value = $null; Failure = $failure } }
        [System.AppDomain]::CurrentDomain.SetData($slot, $type)
    }
    $script:Native = @{ Type = $type; File = $file }
    @{ Value = $script:Native; Failure = $null }
}

function New-CsbNativeType {
    param([string] $File)
    $name = [System.Reflection.AssemblyName]::new('CsBackup.Native')
    $assembly = [System.Reflection.Emit.AssemblyBuilder]::DefineDynamicAssembly($name, 'Run')
    $builder = $assembly.DefineDynamicModule('CsBackup.Native').DefineType('CsBackup.Native', 'Public, Class, Sealed, Abstract')
    $pointer = [System.IntPtr]
    $types = @{
        void = [void]; int = [int]; uint = [uint32]; ulong = [uint64]; pointer = $pointer; text = [byte[]]
        out = $pointer.MakeByRefType(); number = [uint64].MakeByRefType()
    }
    $functions = @(
        'uint csb_abi_version'
        'pointer csb_version'
        'pointer csb_status_name int'
        'int csb_service_open text out out'
        'int csb_service_request pointer text out out'
        'int csb_service_shutdown pointer uint out'
        'void csb_service_free pointer'
        'int csb_backup_start pointer text number out'
        'int csb_sync_start pointer text number out'
        'int csb_job_poll pointer ulong ulong uint out out'
        'int csb_job_cancel pointer ulong out'
        'int csb_job_report pointer ulong int out out'
        'int csb_job_release pointer ulong out'
        'void csb_string_free pointer'
    )
    foreach ($function in $functions) { Add-CsbNativeMethod $builder $function $types $File }
    # .NET Framework cannot read a UTF-8 string at a pointer, so its length is asked for.
    if ($PSVersionTable.PSVersion.Major -lt 6) { Add-CsbNativeMethod $builder 'int lstrlenA pointer' $types 'kernel32.dll' }
    $builder.CreateType()
}

# $Function is its result, its name and its parameters. Enumerations are given by name: a call with a value type in its
# signature costs 20 ms the first time.
function Add-CsbNativeMethod {
    param($Builder, [string] $Function, [hashtable] $Types, [string] $File)
    $result, $name, $names = $Function.Split(' ')
    $parameters = [type[]] @(foreach ($type in $names) { $Types[$type] })
    $method = $Builder.DefinePInvokeMethod(
        $name, $File, $name, 'Public, Static, PinvokeImpl', 'Standard', $Types[$result], $parameters, 'Cdecl', 'Ansi')
    $method.SetImplementationFlags('PreserveSig')
}

function Test-CsbNativeType {
    param([type] $Type, [string] $File)
    $cause = $null
    $found = 0
    try {
        # .NET forgets why a library named by an emitted type cannot be loaded, so it is asked beforehand where it can say.
        $loader = 'System.Runtime.InteropServices.NativeLibrary' -as [type]
        if ($loader) { [void] $loader::Load($File) }
        $found = $Type::csb_abi_version()
    } catch {
        # The loader's own words are the last line.
        $cause = @($_.Exception.GetBaseException().Message.Trim() -split '\r?\n')[-1]
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
    }
    if ($cause) { return New-CsbLoadFailure $File $cause }
    if ($found -ne $script:AbiVersion) {
        return New-CsbFailure 'AbiMismatch' (Get-CsbText 'AbiMismatch' $File, $found, $script:AbiVersion) (Get-CsbText 'AbiMismatchAdvice')
    }
}

# A loader says "no such file" of a library for another processor, which nobody understands: its first bytes say more.
function New-CsbLoadFailure {
    param([string] $File, [string] $Cause)
    $expected = (Get-CsbRuntime).Rid
    $target = Get-CsbBinaryTarget $File
    if (-not $target) {
        $message = Get-CsbText 'LibraryOfNoSystem' $File, $expected
    } elseif ($target -ne $expected) {
        $message = Get-CsbText 'LibraryOfAnotherSystem' $File, $target, $expected
    } else {
        $message = Get-CsbText 'LibraryUnusable' $File, $expected, $Cause
    }
    New-CsbFailure 'LibraryUnusable' $message (Get-CsbText 'LibraryUnusableAdvice' $expected)
}
