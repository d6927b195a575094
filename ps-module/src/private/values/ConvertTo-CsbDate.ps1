# ConvertFrom-Json has made a DateTime of some already, depending on the edition.
function ConvertTo-CsbDate {
    param([AllowNull()] $Value)
    if ($null -eq $Value) { return $null }
    if ($Value -is [datetime]) { return $Value.ToLocalTime() }
    $date = [datetime]::MinValue
    $style = [System.Globalization.DateTimeStyles]::AdjustToUniversal -bor [System.Globalization.DateTimeStyles]::AssumeUniversal
    if ([datetime]::TryParse([string] $Value, [System.Globalization.CultureInfo]::InvariantCulture, $style, [ref] $date)) {
        return $date.ToLocalTime()
    }
    $null
}
