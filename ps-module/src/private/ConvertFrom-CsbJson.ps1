# Dates stay strings where PowerShell can leave them, so that a file named like a date keeps its name.
function ConvertFrom-CsbJson {
    param([string] $Json)
    $version = $PSVersionTable.PSVersion
    if ($version.Major -gt 7 -or ($version.Major -eq 7 -and $version.Minor -ge 5)) {
        ConvertFrom-Json -InputObject $Json -DateKind String
    } else {
        ConvertFrom-Json -InputObject $Json
    }
}
