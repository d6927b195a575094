# Makes dictionaries of objects. Dates stay strings where PowerShell can leave them, so that a file named like a date keeps its name.
function ConvertFrom-CsbJson {
    param([string] $Json)
    if ($script:IsDesktop) { return ConvertTo-CsbDictionary (ConvertFrom-Json -InputObject $Json) }
    if (-not $script:JsonParameters) {
        $script:JsonParameters = @{ AsHashtable = $true }
        if ($PSVersionTable['PSVersion'] -ge '7.5') { $script:JsonParameters['DateKind'] = 'String' }
    }
    $parameters = $script:JsonParameters
    ConvertFrom-Json -InputObject $Json @parameters
}

$script:JsonParameters = $null

# Windows PowerShell makes objects.
function ConvertTo-CsbDictionary {
    param([AllowNull()] $Value)
    if ($Value -is [System.Management.Automation.PSCustomObject]) {
        $dictionary = [ordered] @{}
        foreach ($property in $Value.PSObject.Properties) { $dictionary[$property.Name] = ConvertTo-CsbDictionary $property.Value }
        return $dictionary
    }
    if ($Value -isnot [array]) { return $Value }
    $items = [object[]]::new($Value.Length)
    for ($index = 0; $index -lt $items.Length; $index++) { $items[$index] = ConvertTo-CsbDictionary $Value[$index] }
    , $items
}
