# The system and processor that a native library is for, as linux-x64, out of its first bytes; '' where they are no
# library's.
function Get-CsbBinaryTarget {
    param([string] $File)
    $bytes = New-Object byte[] 1024
    $stream = [System.IO.File]::OpenRead($File)
    try { $length = $stream.Read($bytes, 0, $bytes.Length) } finally { $stream.Dispose() }
    if ($length -lt 64) { return '' }
    $system = ''
    $at = 0
    switch ([System.BitConverter]::ToString($bytes, 0, 4)) {
        '7F-45-4C-46' {
            $system = 'linux'
            $at = 18
        }
        'CF-FA-ED-FE' {
            $system = 'osx'
            $at = 4
        }
        { $_.StartsWith('4D-5A', [System.StringComparison]::Ordinal) } {
            $system = 'win'
            $at = [System.BitConverter]::ToInt32($bytes, 60) + 4
        }
    }
    if (-not $system -or $at -lt 0 -or $at + 4 -gt $length) { return '' }
    $processor = $script:Processors['{0}:{1:x}' -f $system, [System.BitConverter]::ToUInt16($bytes, $at)]
    if (-not $processor) { $processor = 'unknown' }
    "$system-$processor"
}

$script:Processors = @{
    'linux:3e' = 'x64'; 'linux:b7' = 'arm64'; 'linux:3' = 'x86'; 'linux:28' = 'arm'
    'win:8664' = 'x64'; 'win:aa64' = 'arm64'; 'win:14c' = 'x86'
    'osx:7' = 'x64'; 'osx:c' = 'arm64'
}
