# Failures travel as error documents of docs/documents.md, not as exceptions: a caught exception would stay in $Error.
function New-CsbFailure {
    param([string] $Kind, [string] $Message, [string] $Advice, [string[]] $Causes = @())
    @{ kind = $Kind; message = $Message; advice = $Advice; retryable = $false; context = @{}; causes = $Causes }
}

function New-CsbErrorRecord {
    param($Failure, $Target)
    $kind = [string] (Get-CsbField $Failure 'kind' 'Unknown')
    $message = [string] (Get-CsbField $Failure 'message' $kind)
    $advice = [string] (Get-CsbField $Failure 'advice' '')
    $inner = $null
    $causes = @(Get-CsbField $Failure 'causes' @())
    for ($index = $causes.Count - 1; $index -ge 0; $index--) {
        $inner = [System.Exception]::new([string] $causes[$index], $inner)
    }
    $exception = [System.InvalidOperationException]::new($message, $inner)
    $context = Get-CsbField $Failure 'context'
    if ($null -ne $context) {
        foreach ($field in $context.GetEnumerator()) { $exception.Data[$field.Key] = [string] $field.Value }
    }
    $side = Get-CsbField $Failure 'side'
    if ($side) { $exception.Data['side'] = [string] $side }
    $category = [System.Management.Automation.ErrorCategory]::NotSpecified
    if ($script:ErrorCategories.ContainsKey($kind)) { $category = $script:ErrorCategories[$kind] }
    $record = [System.Management.Automation.ErrorRecord]::new($exception, $kind, $category, $Target)
    # Neither edition shows what caused an exception, and Windows PowerShell not the recommended action.
    $text = $message
    $shown = $message
    foreach ($cause in $causes) {
        # SQLite says the same twice, the second time with a number.
        if ($text.Contains($cause.TrimEnd('.')) -or $cause.Contains($shown)) { continue }
        $text = '{0}: {1}' -f $text.TrimEnd('.'), $cause
        $shown = $cause
    }
    if ($advice -and $script:IsDesktop) { $text = "$text $advice" }
    $record.ErrorDetails = [System.Management.Automation.ErrorDetails]::new($text)
    if ($advice) { $record.ErrorDetails.RecommendedAction = $advice }
    $record
}

function Write-CsbFailure {
    param($Cmdlet, $Failure, $Target, [switch] $Terminating)
    $record = New-CsbErrorRecord $Failure $Target
    if ($Terminating) { $Cmdlet.ThrowTerminatingError($record) } else { $Cmdlet.WriteError($record) }
}

$script:ErrorCategories = @{
    AbiMismatch = 'InvalidOperation'; AccessDenied = 'PermissionDenied'; Cancelled = 'OperationStopped'
    Conflict = 'ResourceBusy'; ContentStoreUnmounted = 'ResourceUnavailable'; Corrupt = 'InvalidData'
    DiskFull = 'ResourceUnavailable'; DuplicatePool = 'InvalidData'
    FailedOverPoolOnlyWithoutFullBackup = 'InvalidArgument'; Fenced = 'PermissionDenied'; FileMissing = 'ObjectNotFound'
    ForeignContent = 'ResourceExists'; FullBackupWithSteadyState = 'InvalidArgument'; Interrupted = 'OperationStopped'
    InvalidArgument = 'InvalidArgument'; InvalidRequest = 'InvalidArgument'; InvalidUtf8 = 'InvalidArgument'
    InvalidValue = 'InvalidData'; Io = 'DeviceError'; LibraryMissing = 'NotInstalled'
    LibraryUnusable = 'NotInstalled'; MasterOutdated = 'InvalidOperation'; ModuleIncomplete = 'NotInstalled'; NotConnected = 'ConnectionError'
    NotMaster = 'InvalidOperation'; NotPaired = 'InvalidOperation'; NotPublished = 'ObjectNotFound'; OneSidedPairing = 'InvalidData'
    OptionConflict = 'InvalidArgument'; PathInvalid = 'InvalidArgument'; PeerIncompatible = 'NotImplemented'; PeerRefused = 'PermissionDenied'
    PlaceInsideStore = 'InvalidData'; PoolStateMismatch = 'InvalidOperation'
    ReplicaInvalid = 'InvalidData'; ReportRefused = 'PermissionDenied'; SafetyShareExceeded = 'LimitsExceeded'
    SelfPaired = 'InvalidData'; SharedStore = 'InvalidData'; ShutDown = 'InvalidOperation'; SourceTooBusy = 'ResourceBusy'; SplitTimeline = 'InvalidData'
    StandbyInsideSource = 'InvalidData'; StateNotReached = 'OperationTimeout'; StoreBusy = 'ResourceBusy'
    StoreOpenInProcess = 'ResourceBusy'; StoreReplaced = 'ResourceUnavailable'; StoreUnavailable = 'ResourceUnavailable'; SyntaxError = 'ParserError'; UnknownBackupPool = 'InvalidData'
    UnknownField = 'InvalidData'; UnknownJob = 'ObjectNotFound'; UnknownPool = 'ObjectNotFound'; UnknownRole = 'ObjectNotFound'
    UnsafeSqlite = 'NotInstalled'; UnsupportedStore = 'NotImplemented'; WaitTimedOut = 'OperationTimeout'
}
