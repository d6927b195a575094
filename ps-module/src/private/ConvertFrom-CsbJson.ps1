# Dates stay strings where PowerShell can leave them, so that a file named like a date keeps its name.
function ConvertFrom-CsbJson {
    param([string] $Json)
    if ($PSVersionTable.PSVersion -ge [version] '7.5') {
        ConvertFrom-Json -InputObject $Json -DateKind String
    } else {
        ConvertFrom-Json -InputObject $Json
    }
}
