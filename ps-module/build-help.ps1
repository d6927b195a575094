# Makes the help files that Get-Help reads, one for each language, out of the pages in help/. Types, positions, sets and
# pipelines come from the commands themselves, examples' code from the English page: neither can differ from the other.
# Refuses a page that lacks a parameter or describes one that there is none of.
[CmdletBinding()]
param([string] $ModuleFolder = $PSScriptRoot)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$common = [System.Management.Automation.PSCmdlet]::CommonParameters + [System.Management.Automation.PSCmdlet]::OptionalCommonParameters
$asking = 'WhatIf', 'Confirm'
$exampleWords = [ordered] @{ 'en-US' = 'Example'; it = 'Esempio' }
$namespaces = @{
    command = 'http://schemas.microsoft.com/maml/dev/command/2004/10'
    dev     = 'http://schemas.microsoft.com/maml/dev/2004/10'
    maml    = 'http://schemas.microsoft.com/maml/2004/10'
}

# A page as @{ Synopsis; Sections = @{ name = ordered @{ heading = text } } }; text before a section's headings is under ''.
function Read-Page {
    param([string] $File)
    $page = @{ Synopsis = ''; Sections = @{} }
    $section = $null
    $heading = ''
    $code = $false
    foreach ($line in [System.IO.File]::ReadAllLines($File)) {
        if ($line.StartsWith('```')) { $code = -not $code }
        if (-not $code -and $line -match '^## (.+)$') {
            $section = [ordered] @{ '' = '' }
            $page.Sections[$Matches[1]] = $section
            $heading = ''
        } elseif (-not $code -and $line -match '^### (.+)$') {
            $heading = $Matches[1]
            $section[$heading] = ''
        } elseif ($null -ne $section) {
            $section[$heading] += "$line`n"
        } elseif ($line -notmatch '^# ') {
            $page.Synopsis += "$line`n"
        }
    }
    $page.Synopsis = $page.Synopsis.Trim()
    $page
}

function Get-Entry {
    param($Page, [string] $Section)
    if (-not $Page.Sections.ContainsKey($Section)) { throw "A page of $($Page.Name) has no section $Section." }
    $entries = $Page.Sections[$Section]
    foreach ($name in $entries.Keys) { if ($name) { [pscustomobject] @{ Name = $name; Text = $entries[$name].Trim() } } }
}

function Start-Element {
    param($Writer, [string] $Name, [System.Collections.IDictionary] $Attributes = @{})
    $prefix, $local = $Name.Split(':')
    $Writer.WriteStartElement($prefix, $local, $namespaces[$prefix])
    foreach ($key in $Attributes.Keys) { $Writer.WriteAttributeString($key, [string] $Attributes[$key]) }
}

function Write-TextElement {
    param($Writer, [string] $Name, [string] $Text)
    Start-Element $Writer $Name
    $Writer.WriteString($Text)
    $Writer.WriteEndElement()
}

function Write-Paragraph {
    param($Writer, [string] $Element, [string] $Text)
    Start-Element $Writer $Element
    foreach ($paragraph in $Text -split '\n\s*\n') { Write-TextElement $Writer 'maml:para' $paragraph.Trim() }
    $Writer.WriteEndElement()
}

function Write-NamedType {
    param($Writer, [string] $List, [string] $Item, $Page, [string] $Section)
    Start-Element $Writer $List
    foreach ($entry in Get-Entry $Page $Section) {
        Start-Element $Writer $Item
        Start-Element $Writer 'dev:type'
        Write-TextElement $Writer 'maml:name' $entry.Name
        $Writer.WriteEndElement()
        Write-Paragraph $Writer 'maml:description' $entry.Text
        $Writer.WriteEndElement()
    }
    $Writer.WriteEndElement()
}

function Write-Parameter {
    param($Writer, $Parameter, $Set, [string] $Text)
    $pipeline = @()
    if ($Set.ValueFromPipeline) { $pipeline += 'ByValue' }
    if ($Set.ValueFromPipelineByPropertyName) { $pipeline += 'ByPropertyName' }
    $position = 'named'
    if ($Set.Position -ge 0) { $position = $Set.Position }
    $aliases = 'none'
    if ($Parameter.Aliases.Count) { $aliases = $Parameter.Aliases -join ', ' }
    Start-Element $Writer 'command:parameter' ([ordered] @{
            required = ([string] $Set.IsMandatory).ToLowerInvariant()
            globbing = ([string] ($Parameter.Attributes.TypeId -contains [System.Management.Automation.SupportsWildcardsAttribute])).ToLowerInvariant()
            pipelineInput = if ($pipeline) { 'True ({0})' -f ($pipeline -join ', ') } else { 'False' }
            position = $position
            aliases = $aliases
        })
    Write-TextElement $Writer 'maml:name' $Parameter.Name
    if ($Text) { Write-Paragraph $Writer 'maml:description' $Text }
    $values = @($Parameter.Attributes | Where-Object { $_ -is [ValidateSet] } | ForEach-Object ValidValues)
    if ($values.Count) {
        Start-Element $Writer 'command:parameterValueGroup'
        foreach ($value in $values) {
            Start-Element $Writer 'command:parameterValue' @{ required = 'false'; variableLength = 'false' }
            $Writer.WriteString($value)
            $Writer.WriteEndElement()
        }
        $Writer.WriteEndElement()
    }
    if ($Parameter.ParameterType -ne [switch]) {
        Start-Element $Writer 'command:parameterValue' @{ required = 'true'; variableLength = 'false' }
        $Writer.WriteString($Parameter.ParameterType.Name)
        $Writer.WriteEndElement()
    }
    Start-Element $Writer 'dev:type'
    Write-TextElement $Writer 'maml:name' $Parameter.ParameterType.Name
    $Writer.WriteEndElement()
    $Writer.WriteEndElement()
}

# The parameters' texts: the page's own, else the ones that all pages share.
function Get-ParameterText {
    param($Command, $Page, $Shared)
    $texts = @{}
    foreach ($entry in Get-Entry $Page 'Parameters') {
        if (-not $Command.Parameters.ContainsKey($entry.Name.TrimStart('-'))) { throw "$($Page.Name) describes $($entry.Name), which $($Command.Name) has not." }
        $texts[$entry.Name.TrimStart('-')] = $entry.Text
    }
    foreach ($name in $Command.Parameters.Keys) {
        if (($common -contains $name -and $asking -notcontains $name) -or $texts.ContainsKey($name)) { continue }
        if (-not $Shared.ContainsKey($name)) { throw "$($Page.Name) does not describe -$name." }
        $texts[$name] = $Shared[$name]
    }
    $texts
}

function Write-Command {
    param($Writer, $Command, $Page, $English, $Shared)
    $texts = Get-ParameterText $Command $Page $Shared
    $described = @($Command.Parameters.Values | Where-Object { $texts.ContainsKey($_.Name) })
    Start-Element $Writer 'command:command'
    foreach ($prefix in 'maml', 'dev') { $Writer.WriteAttributeString('xmlns', $prefix, $null, $namespaces[$prefix]) }
    Start-Element $Writer 'command:details'
    Write-TextElement $Writer 'command:name' $Command.Name
    Write-Paragraph $Writer 'maml:description' $Page.Synopsis
    Write-TextElement $Writer 'command:verb' $Command.Verb
    Write-TextElement $Writer 'command:noun' $Command.Noun
    $Writer.WriteEndElement()
    Write-Paragraph $Writer 'maml:description' $Page.Sections['Description'][''].Trim()

    Start-Element $Writer 'command:syntax'
    foreach ($set in $Command.ParameterSets) {
        Start-Element $Writer 'command:syntaxItem'
        Write-TextElement $Writer 'maml:name' $Command.Name
        foreach ($parameter in $described) {
            $inSet = $set.Parameters | Where-Object Name -EQ $parameter.Name
            if ($inSet) { Write-Parameter $Writer $parameter $inSet '' }
        }
        $Writer.WriteEndElement()
    }
    $Writer.WriteEndElement()
    Start-Element $Writer 'command:parameters'
    foreach ($parameter in $described) {
        $set = $Command.ParameterSets.Parameters | Where-Object Name -EQ $parameter.Name | Select-Object -First 1
        Write-Parameter $Writer $parameter $set $texts[$parameter.Name]
    }
    $Writer.WriteEndElement()

    Write-NamedType $Writer 'command:inputTypes' 'command:inputType' $Page 'Inputs'
    Write-NamedType $Writer 'command:returnValues' 'command:returnValue' $Page 'Outputs'
    Write-Example $Writer $Page $English
    Start-Element $Writer 'maml:relatedLinks'
    foreach ($link in $English.Sections['Links'][''].Trim() -split '\n') {
        Start-Element $Writer 'maml:navigationLink'
        Write-TextElement $Writer 'maml:linkText' ($link -replace '^- ')
        Write-TextElement $Writer 'maml:uri' ''
        $Writer.WriteEndElement()
    }
    $Writer.WriteEndElement()
    $Writer.WriteEndElement()
}

# The code is the English page's; a translation has titles and remarks only.
function Write-Example {
    param($Writer, $Page, $English)
    $examples = @(Get-Entry $English 'Examples')
    $translated = @(Get-Entry $Page 'Examples')
    if ($translated.Count -ne $examples.Count) { throw "$($Page.Name) has $($translated.Count) examples; the English page has $($examples.Count)." }
    Start-Element $Writer 'command:examples'
    for ($index = 0; $index -lt $examples.Count; $index++) {
        if ($examples[$index].Text -notmatch '(?s)^```powershell\n(?<code>.*?)\n```\n(?<remarks>.+)$') { throw "An example of $($English.Name) is not code and a remark." }
        $code = $Matches.code
        $remarks = $Matches.remarks
        if ($Page -ne $English) { $remarks = $translated[$index].Text }
        Start-Element $Writer 'command:example'
        Write-TextElement $Writer 'maml:title' ('{0} {1}: {2}' -f $Page.ExampleWord, ($index + 1), $translated[$index].Name)
        Write-TextElement $Writer 'dev:code' $code
        # The second, empty paragraph keeps the next title apart.
        Write-Paragraph $Writer 'dev:remarks' "$remarks`n`n "
        $Writer.WriteEndElement()
    }
    $Writer.WriteEndElement()
}

function Write-Language {
    param([string] $Language, $Commands)
    $folder = [System.IO.Path]::Combine($ModuleFolder, 'help')
    $shared = @{}
    foreach ($entry in Get-Entry (Read-Page ([System.IO.Path]::Combine($folder, $Language, 'common.md'))) 'Parameters') {
        $shared[$entry.Name.TrimStart('-')] = $entry.Text
    }
    $settings = New-Object System.Xml.XmlWriterSettings -Property @{ Indent = $true; Encoding = New-Object System.Text.UTF8Encoding $false }
    $file = [System.IO.Path]::Combine($ModuleFolder, $Language, 'CsBackup-help.xml')
    $writer = [System.Xml.XmlWriter]::Create($file, $settings)
    try {
        $writer.WriteStartElement('', 'helpItems', 'http://msh')
        $writer.WriteAttributeString('schema', 'maml')
        foreach ($command in $Commands) {
            $english = Read-Page ([System.IO.Path]::Combine($folder, 'en-US', "$($command.Name).md"))
            $page = $english
            if ($Language -ne 'en-US') { $page = Read-Page ([System.IO.Path]::Combine($folder, $Language, "$($command.Name).md")) }
            $page.Name = '{0}/{1}.md' -f $Language, $command.Name
            $page.ExampleWord = $exampleWords[$Language]
            $english.Name = 'en-US/{0}.md' -f $command.Name
            Write-Command $writer $command $page $english $shared
        }
        $writer.WriteEndElement()
    } finally {
        $writer.Dispose()
    }
}

$module = Import-Module ([System.IO.Path]::Combine($ModuleFolder, 'CsBackup.psd1')) -Force -PassThru
$commands = @($module.ExportedFunctions.Values | Sort-Object Name)
$pages = @([System.IO.Directory]::GetFiles([System.IO.Path]::Combine($ModuleFolder, 'help'), '*.md', 'AllDirectories') | ForEach-Object { [System.IO.Path]::GetFileNameWithoutExtension($_) })
foreach ($page in $pages) {
    if ($page -ne 'common' -and $commands.Name -notcontains $page) { throw "There is a page $page, but no such command." }
}
foreach ($language in $exampleWords.Keys) { Write-Language $language $commands }
"$($commands.Count) commands in 2 languages"
