# Documents grow and lack optional fields; strict mode must not mind.
function Get-CsbField {
    param([AllowNull()] $Document, [string] $Name, $Default = $null)
    if ($null -eq $Document) { return $Default }
    $property = $Document.PSObject.Properties[$Name]
    if ($null -eq $property -or $null -eq $property.Value) { return $Default }
    $property.Value
}
