# Returns $null for what is not a duration: a negative one, or anything but a number, hh:mm:ss or a TimeSpan.
function ConvertTo-CsbDuration {
    param([AllowNull()] $Value)
    if ($Value -is [psobject]) { $Value = $Value.PSObject.BaseObject }
    $invariant = [System.Globalization.CultureInfo]::InvariantCulture
    $duration = $null
    if ($Value -is [timespan]) {
        $duration = $Value
    } elseif ($Value -is [string] -and $Value.Contains(':')) {
        $parsed = [timespan]::Zero
        if (-not [timespan]::TryParse($Value, $invariant, [ref] $parsed)) { return $null }
        $duration = $parsed
    } elseif ($Value -is [string] -or $Value -is [int] -or $Value -is [long] -or $Value -is [double] -or $Value -is [decimal]) {
        $seconds = 0.0
        $text = [System.Convert]::ToString($Value, $invariant)
        if (-not [double]::TryParse($text, [System.Globalization.NumberStyles]::Float, $invariant, [ref] $seconds)) { return $null }
        if (-not ($seconds -ge 0 -and $seconds -le 922337203685)) { return $null }
        $duration = [timespan]::FromTicks([long] ($seconds * [timespan]::TicksPerSecond))
    }
    if ($null -eq $duration -or $duration -lt [timespan]::Zero) { return $null }
    $duration
}
