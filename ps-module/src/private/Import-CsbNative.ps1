# Emits the P/Invoke type for the library at its absolute path: no compiler, both editions.
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
    $pointer, $text, $int, $uint, $ulong = [System.IntPtr], [byte[]], [int], [uint32], [uint64]
    $out, $number = $pointer.MakeByRefType(), $ulong.MakeByRefType()
    Add-CsbNativeMethod $builder $File csb_abi_version $uint
    Add-CsbNativeMethod $builder $File csb_version $pointer
    Add-CsbNativeMethod $builder $File csb_status_name $pointer $int
    Add-CsbNativeMethod $builder $File csb_service_open $int $text, $out, $out
    Add-CsbNativeMethod $builder $File csb_service_request $int $pointer, $text, $out, $out
    Add-CsbNativeMethod $builder $File csb_service_shutdown $int $pointer, $uint, $out
    Add-CsbNativeMethod $builder $File csb_service_free ([void]) $pointer
    Add-CsbNativeMethod $builder $File csb_backup_start $int $pointer, $text, $number, $out
    Add-CsbNativeMethod $builder $File csb_sync_start $int $pointer, $text, $number, $out
    Add-CsbNativeMethod $builder $File csb_job_poll $int $pointer, $ulong, $ulong, $uint, $out, $out
    Add-CsbNativeMethod $builder $File csb_job_cancel $int $pointer, $ulong, $out
    Add-CsbNativeMethod $builder $File csb_job_report $int $pointer, $ulong, $int, $out, $out
    Add-CsbNativeMethod $builder $File csb_job_release $int $pointer, $ulong, $out
    Add-CsbNativeMethod $builder $File csb_string_free ([void]) $pointer
    # .NET Framework cannot read a UTF-8 string at a pointer, so its length is asked for.
    if ($script:IsDesktop) { Add-CsbNativeMethod $builder kernel32.dll lstrlenA $int $pointer }
    $builder.CreateType()
}

# Enumerations are given by name: a call with a value type in its signature costs 20 ms the first time.
function Add-CsbNativeMethod {
    param($Builder, [string] $File, [string] $Name, [type] $Result, [type[]] $Parameters = @())
    $method = $Builder.DefinePInvokeMethod(
        $Name, $File, $Name, 'Public, Static, PinvokeImpl', 'Standard', $Result, $Parameters, 'Cdecl', 'Ansi')
    $method.SetImplementationFlags('PreserveSig')
}

function Test-CsbNativeType {
    param([type] $Type, [string] $File)
    try {
        $found = $Type::csb_abi_version()
    } catch {
        # .NET forgets why a library named by an emitted type cannot be loaded, so it is asked again where it can say.
        $cause = Get-CsbLoadProblem $File $_.Exception
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
        return New-CsbLoadFailure $File $cause
    }
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

function Get-CsbLoadProblem {
    param([string] $File, [System.Exception] $Exception)
    try {
        if (-not $script:IsDesktop) { [void] [System.Runtime.InteropServices.NativeLibrary]::Load($File) }
    } catch {
        $Exception = $_.Exception
        if ($global:Error.Count) { $global:Error.RemoveAt(0) }
    }
    # The loader's own words are the last line.
    @($Exception.GetBaseException().Message.Trim() -split '\r?\n')[-1]
}
