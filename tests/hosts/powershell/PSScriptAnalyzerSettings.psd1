@{
    # Private helpers take their arguments in order, and the public cmdlet that calls them has asked already;
    # Contract.Tests.ps1 checks that every public cmdlet which changes something asks.
    ExcludeRules = @('PSAvoidUsingPositionalParameters', 'PSUseShouldProcessForStateChangingFunctions')
    Rules = @{
        PSUseCompatibleSyntax = @{
            Enable = $true
            TargetVersions = @('5.1', '7.0')
        }
    }
}
