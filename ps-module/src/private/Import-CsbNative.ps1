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
    $out = $pointer.MakeByRefType()
    $text = [byte[]]
    $functions = [ordered] @{
        csb_abi_version      = [uint32], @()
        csb_version          = $pointer, @()
        csb_status_name      = $pointer, @([int])
        csb_service_open     = [int], @($text, $out, $out)
        csb_service_request  = [int], @($pointer, $text, $out, $out)
        csb_service_shutdown = [int], @($pointer, [uint32], $out)
        csb_service_free     = [void], @($pointer)
        csb_backup_start     = [int], @($pointer, $text, [uint64].MakeByRefType(), $out)
        csb_sync_start       = [int], @($pointer, $text, [uint64].MakeByRefType(), $out)
        csb_job_poll         = [int], @($pointer, [uint64], [uint64], [uint32], $out, $out)
        csb_job_cancel       = [int], @($pointer, [uint64], $out)
        csb_job_report       = [int], @($pointer, [uint64], [int], $out, $out)
        csb_job_release      = [int], @($pointer, [uint64], $out)
        csb_string_free      = [void], @($pointer)
    }
    foreach ($name in $functions.Keys) {
        Add-CsbNativeMethod $builder $name $File $functions[$name][0] $functions[$name][1]
    }
    # .NET Framework cannot read a UTF-8 string at a pointer, so its length is asked for.
    if (-not [System.Runtime.InteropServices.Marshal].GetMethod('PtrToStringUTF8', [type[]] @($pointer))) {
        Add-CsbNativeMethod $builder 'lstrlenA' 'kernel32.dll' ([int]) @($pointer)
    }
    $builder.CreateType()
}

# Names instead of values of enumerations: a call with a value type in its signature costs 20 ms the first time.
function Add-CsbNativeMethod {
    param($Builder, $Name, $File, $Result, $Parameters)
    $method = $Builder.DefinePInvokeMethod(
        $Name, $File, $Name, 'Public, Static, PinvokeImpl', 'Standard', $Result, [type[]] $Parameters, 'Cdecl', 'Ansi')
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
