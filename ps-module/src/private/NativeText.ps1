function ConvertTo-CsbUtf8 {
    param($Document)
    [System.Text.Encoding]::UTF8.GetBytes(("{0}`0" -f (ConvertTo-CsbJson $Document)))
}

# Requests are small: this costs a fraction of what ConvertTo-Json does the first time.
function ConvertTo-CsbJson {
    param([AllowNull()] $Value)
    if ($Value -is [string]) {
        if ($Value -match '["\\\x00-\x1f]') { return ConvertTo-Json -InputObject $Value -Compress }
        return '"{0}"' -f $Value
    }
    if ($Value -is [bool]) { return ([string] $Value).ToLowerInvariant() }
    if ($null -eq $Value) { return 'null' }
    if ($Value -is [System.Collections.IDictionary]) {
        $fields = foreach ($name in $Value.Keys) { '"{0}":{1}' -f $name, (ConvertTo-CsbJson $Value[$name]) }
        return '{{{0}}}' -f ($fields -join ',')
    }
    if ($Value -is [array]) {
        $items = foreach ($item in $Value) { ConvertTo-CsbJson $item }
        return '[{0}]' -f ($items -join ',')
    }
    [string] $Value
}

# Reads a string that the library handed out, and gives it back; $null where it handed out none.
function Read-CsbText {
    param([type] $Type, [System.IntPtr] $Pointer)
    Read-CsbStaticText $Type $Pointer
    $Type::csb_string_free($Pointer)
}

function Read-CsbStaticText {
    param([type] $Type, [System.IntPtr] $Pointer)
    if (-not $script:IsDesktop) { return [System.Runtime.InteropServices.Marshal]::PtrToStringUTF8($Pointer) }
    if ($Pointer -eq [System.IntPtr]::Zero) { return $null }
    $bytes = [byte[]]::new($Type::lstrlenA($Pointer))
    [System.Runtime.InteropServices.Marshal]::Copy($Pointer, $bytes, 0, $bytes.Length)
    [System.Text.Encoding]::UTF8.GetString($bytes)
}

# Makes @{ Value; Failure } of what a call returned; the value is text with -Raw, else the document that it says.
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
