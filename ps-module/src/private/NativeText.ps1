function ConvertTo-CsbUtf8 {
    param($Document)
    [System.Text.Encoding]::UTF8.GetBytes((ConvertTo-Json -InputObject $Document -Depth 8 -Compress) + [char] 0)
}

# Reads a string that the library handed out, and gives it back.
function Read-CsbText {
    param([type] $Type, [System.IntPtr] $Pointer)
    if ($Pointer -eq [System.IntPtr]::Zero) { return $null }
    try {
        Read-CsbStaticText $Type $Pointer
    } finally {
        $Type::csb_string_free($Pointer)
    }
}

function Read-CsbStaticText {
    param([type] $Type, [System.IntPtr] $Pointer)
    if ($PSVersionTable.PSVersion.Major -ge 6) { return [System.Runtime.InteropServices.Marshal]::PtrToStringUTF8($Pointer) }
    $bytes = New-Object byte[] ($Type::lstrlenA($Pointer))
    [System.Runtime.InteropServices.Marshal]::Copy($Pointer, $bytes, 0, $bytes.Length)
    [System.Text.Encoding]::UTF8.GetString($bytes)
}

# Makes @{ Value; Failure } of what a call returned.
function Get-CsbResult {
    param([type] $Type, [int] $Status, [System.IntPtr] $Output, [System.IntPtr] $ErrorOutput, [switch] $Raw)
    $text = Read-CsbText $Type $Output
    $problem = Read-CsbText $Type $ErrorOutput
    if ($Status -eq 0) {
        if ($null -ne $text -and -not $Raw) { $text = ConvertFrom-CsbJson $text }
        return @{ Value = $text; Failure = $null }
    }
    if ($problem) { return @{ Value = $null; Failure = ConvertFrom-CsbJson $problem } }
    $name = Read-CsbStaticText $Type ($Type::csb_status_name($Status))
    @{ Value = $null; Failure = New-CsbFailure $name $name '' }
}
