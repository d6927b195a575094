# English is merged into this file by build.sh; a translation replaces it key by key, so a missing key stays English.
function Import-CsbTranslation {
    param([string] $Folder)
    $culture = [System.Globalization.CultureInfo]::CurrentUICulture
    while ($culture.Name) {
        $file = [System.IO.Path]::Combine($Folder, $culture.Name, 'CsBackup.Strings.psd1')
        if ($culture.Name -ne 'en-US' -and [System.IO.File]::Exists($file)) {
            $translation = Import-PowerShellDataFile -LiteralPath $file -ErrorAction Ignore
            if ($translation) {
                foreach ($key in @($translation.Keys)) { $script:Text[$key] = $translation[$key] }
            }
            return
        }
        $culture = $culture.Parent
    }
}

function Get-CsbText {
    param([string] $Key, [object[]] $Values = @())
    $text = [string] $script:Text[$Key]
    if ($Values.Count) { return ($text -f $Values) }
    $text
}
