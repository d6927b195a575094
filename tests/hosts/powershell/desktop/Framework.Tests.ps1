# Windows PowerShell's .NET Framework is not here, but the list of what it has is: run.sh restores its reference assemblies.
BeforeDiscovery { $script:IsRestored = [bool] $env:CSBACKUP_FRAMEWORK }

Describe 'What the module uses of .NET' -Skip:(-not $IsRestored) {
    BeforeAll {
        # Names of types, each with those of its methods and fields.
        $script:Types = @{}
        foreach ($name in 'mscorlib', 'System', 'System.Core') {
            $stream = [System.IO.File]::OpenRead((Join-Path $env:CSBACKUP_FRAMEWORK "$name.dll"))
            $file = [System.Reflection.PortableExecutable.PEReader]::new($stream)
            $reader = [System.Reflection.Metadata.PEReaderExtensions]::GetMetadataReader($file)
            foreach ($handle in $reader.TypeDefinitions) {
                $type = $reader.GetTypeDefinition($handle)
                $members = @($type.GetMethods() | ForEach-Object { $reader.GetString($reader.GetMethodDefinition($_).Name) }) +
                    @($type.GetFields() | ForEach-Object { $reader.GetString($reader.GetFieldDefinition($_).Name) })
                $Types["$($reader.GetString($type.Namespace)).$($reader.GetString($type.Name))"] = $members
            }
            $file.Dispose()
        }
        $module = Join-Path $PSScriptRoot '../../../../ps-module/CsBackup.psm1'
        $script:Ast = [System.Management.Automation.Language.Parser]::ParseFile($module, [ref] $null, [ref] $null)
    }

    It 'is in .NET Framework 4.7.2' {
        $isStatic = { $args[0] -is [System.Management.Automation.Language.MemberExpressionAst] -and $args[0].Static }
        $used = 0
        $missing = foreach ($use in $Ast.FindAll($isStatic, $true)) {
            # A type in a variable is the library's; PowerShell's own types are no part of .NET.
            $type = if ($use.Expression -is [System.Management.Automation.Language.TypeExpressionAst]) { $use.Expression.TypeName.GetReflectionType() }
            if (-not $type -or $type.IsArray -or $type.IsGenericType -or $type.Namespace -like 'System.Management.Automation*') { continue }
            $used++
            $member = $use.Member.Value
            if ($member -eq 'new') { $member = '.ctor' }
            $members = @($Types[$type.FullName])
            if ($members -notcontains $member -and $members -notcontains "get_$member") { "$($type.Name)::$member" }
        }
        $used | Should -BeGreaterThan 50
        $missing | Should -BeNullOrEmpty
    }
}
