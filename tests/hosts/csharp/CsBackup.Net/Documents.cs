using System.Text.Json;
using System.Text.Json.Serialization;

namespace CsBackup;

/// <summary>How documents are read and written: camelCase, nulls left out, unknown fields ignored.</summary>
public static class Documents
{
    /// <summary>The options for all of them.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter() },
    };
}

/// <summary>What a job is asked to do.</summary>
public abstract record JobRequest
{
    /// <summary>The pool.</summary>
    public required string PoolFqdn { get; init; }

    /// <summary>Whether the topology comes from the local replica.</summary>
    public bool LocalStore { get; init; }

    /// <summary>Whether deletions beyond the safety share are allowed.</summary>
    public bool Force { get; init; }

    /// <summary>Whether everything is compared, however little has changed, and what differs is repaired.</summary>
    public bool Verify { get; init; }

    /// <summary>Whether to plan only.</summary>
    public bool WhatIf { get; init; }

    /// <summary>How often a failed call is tried again; null for the default.</summary>
    public int? RetryCount { get; init; }

    /// <summary>How long to wait for another job of the same pool and direction, in milliseconds.</summary>
    public long WaitForLeaseMs { get; init; }
}

/// <summary>A category of modules.</summary>
public enum Category
{
    /// <summary>User store and content store.</summary>
    UserData,

    /// <summary>The Central Management store.</summary>
    CMS,
}

/// <summary>Backs a pool up.</summary>
public sealed record BackupRequest : JobRequest
{
    /// <summary>Which modules; null for all.</summary>
    public Category? Category { get; init; }

    /// <summary>Whether to begin only when nothing is left to export.</summary>
    public bool FullBackup { get; init; }

    /// <summary>Whether to begin only when every pending change fits into one batch.</summary>
    public bool SteadyState { get; init; }

    /// <summary>Whether to back up only a pool that is failed over.</summary>
    public bool FailedOverPoolOnly { get; init; }

    /// <summary>The pause between two looks at an awaited state, in milliseconds; null for the default.</summary>
    public long? WaitTimeMs { get; init; }
}

/// <summary>Synchronizes a pool with its backup pool.</summary>
public sealed record SyncRequest : JobRequest
{
    /// <summary>Full or short names; none for all modules.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];
}

/// <summary>How a job, a step or a module ended.</summary>
public enum Outcome
{
    /// <summary>Nothing was to be done.</summary>
    Skipped,

    /// <summary>All was done.</summary>
    Succeeded,

    /// <summary>Done, but there is something to know.</summary>
    SucceededWithWarnings,

    /// <summary>Stopped because somebody asked for it.</summary>
    Cancelled,

    /// <summary>Not done.</summary>
    Failed,
}

/// <summary>One failure, as calls and reports tell it.</summary>
public sealed record ErrorDocument
{
    /// <summary>The number of <see cref="Kind"/>.</summary>
    public int Status { get; init; }

    /// <summary>The stable id.</summary>
    public string Kind { get; init; } = "";

    /// <summary>One sentence for people.</summary>
    public string Message { get; init; } = "";

    /// <summary>What to do.</summary>
    public string Advice { get; init; } = "";

    /// <summary>Whether the same call may succeed later by itself.</summary>
    public bool Retryable { get; init; }

    /// <summary>Where: pool, module, path, field.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = new Dictionary<string, string>();

    /// <summary>What lies underneath, the nearest first.</summary>
    public IReadOnlyList<string> Causes { get; init; } = [];
}

/// <summary>What a job did.</summary>
public sealed record Report
{
    /// <summary>Unique for ever.</summary>
    public Guid JobId { get; init; }

    /// <summary>The command, as administrators know it.</summary>
    public string Command { get; init; } = "";

    /// <summary>The pool.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>Its partner.</summary>
    public string? BackupPoolFqdn { get; init; }

    /// <summary>How it ended.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>When it began.</summary>
    public DateTimeOffset StartedAt { get; init; }

    /// <summary>How long it took.</summary>
    public long DurationMs { get; init; }

    /// <summary>Module by module.</summary>
    public IReadOnlyList<ModuleReport> Modules { get; init; } = [];

    /// <summary>What an administrator should know.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>What failed, outside of modules.</summary>
    public IReadOnlyList<ErrorDocument> Errors { get; init; } = [];
}

/// <summary>What a module did for whom.</summary>
public enum Purpose
{
    /// <summary>It brought a pool's copy at its backup pool up to date.</summary>
    Copy,

    /// <summary>It gave a pool back what it had lost and its backup pool still held.</summary>
    CarryBack,
}

/// <summary>What a job did for one module.</summary>
public sealed record ModuleReport
{
    /// <summary>Its name.</summary>
    public string Module { get; init; } = "";

    /// <summary>Whether it copied or gave back.</summary>
    public Purpose Purpose { get; init; }

    /// <summary>How it ended.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>What was written and removed.</summary>
    public Moved Moved { get; init; } = new();

    /// <summary>Items that could not be copied while everything else was.</summary>
    public IReadOnlyList<QuarantinedItem> Quarantined { get; init; } = [];

    /// <summary>What failed.</summary>
    public IReadOnlyList<ErrorDocument> Errors { get; init; } = [];
}

/// <summary>What was written to and removed from the destination.</summary>
public sealed record Moved
{
    /// <summary>Items written.</summary>
    public long ItemsWritten { get; init; }

    /// <summary>Items removed.</summary>
    public long ItemsDeleted { get; init; }

    /// <summary>Bytes written.</summary>
    public long Bytes { get; init; }
}

/// <summary>An item that could not be copied.</summary>
/// <param name="Item">Which.</param>
/// <param name="Reason">Why.</param>
/// <param name="Advice">What to do.</param>
public sealed record QuarantinedItem(string Item, string Reason, string Advice);
