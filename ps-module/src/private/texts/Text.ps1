# What the module says, in the session's language. Returns @{ key = text }. English is merged in by build.sh as Get-CsbEnglishText; a
# translation replaces it key by key, so a missing key stays English.
function Import-CsbText {
    $texts = Get-CsbEnglishText
    $culture = [System.Globalization.CultureInfo]::CurrentUICulture
    while ($culture.Name -and $culture.Name -ne 'en-US') {
        $file = [System.IO.Path]::Combine($script:ModuleFolder, $culture.Name, 'CsBackup.Strings.psd1')
        if ([System.IO.File]::Exists($file)) {
            $translation = Import-PowerShellDataFile -LiteralPath $file -ErrorAction Ignore
            if ($translation) {
                foreach ($key in $translation.Keys) { $texts[$key] = $translation[$key] }
            }
            break
        }
        $culture = $culture.Parent
    }
    $texts
}

# A text that counts has a second one for a single thing, with "One" behind its key; $Count says how many there are.
function Get-CsbText {
    param([string] $Key, [object[]] $Values = @(), $Count = $null)
    if (-not $script:Text) { $script:Text = Import-CsbText }
    if ($null -ne $Count -and $Count -eq 1 -and $script:Text.ContainsKey("${Key}One")) { $Key = "${Key}One" }
    $text = [string] $script:Text[$Key]
    if ($Values.Count) { return ($text -f $Values) }
    $text
}

$script:Text = $null
