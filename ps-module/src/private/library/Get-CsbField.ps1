# Documents grow and lack optional fields; strict mode must not mind.
function Get-CsbField {
    param([AllowNull()] $Document, [string] $Name, $Default = $null)
    if ($null -eq $Document) { return $Default }
    $value = $Document[$Name]
    if ($null -eq $value) { return $Default }
    $value
}
