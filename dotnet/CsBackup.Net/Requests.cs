using System.Text.Json.Serialization;

namespace CsBackup;

/// <summary>What a job is asked to do.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "job")]
[JsonDerivedType(typeof(BackupRequest), "backup")]
[JsonDerivedType(typeof(SyncRequest), "sync")]
[JsonDerivedType(typeof(DisableRequest), "disable")]
[JsonDerivedType(typeof(RestoreRequest), "restore")]
public abstract record JobRequest
{
    /// <summary>The pool.</summary>
    public required string PoolFqdn { get; init; }

    /// <summary>Whether the topology comes from the local replica.</summary>
    public bool LocalStore { get; init; }

    /// <summary>Whether to plan only.</summary>
    public bool WhatIf { get; init; }

    /// <summary>How often a failed call is tried again; null for the default.</summary>
    public int? RetryCount { get; init; }

    /// <summary>How long to wait for another job of the same pool and direction, in milliseconds.</summary>
    public long WaitForLeaseMs { get; init; }
}

/// <summary>What a job is asked to do that copies.</summary>
public abstract record CopyRequest : JobRequest
{
    /// <summary>Whether the host hides what is not fatal and asks nothing; it changes nothing in the library.</summary>
    public bool Force { get; init; }

    /// <summary>Whether deletions beyond the safety share, and a user store that shrank or was replaced, are copied.</summary>
    public bool AcceptDeletions { get; init; }

    /// <summary>Whether everything is compared, however little has changed, and what differs is repaired.</summary>
    public bool Verify { get; init; }
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
public sealed record BackupRequest : CopyRequest
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
public sealed record SyncRequest : CopyRequest
{
    /// <summary>Full or short names; none for all modules.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>Whether the backup pool gets back what it lacks of what this pool holds for it. Null: only a store that is lost as a
    /// whole, where one module is named alone.</summary>
    public bool? GiveBack { get; init; }
}

/// <summary>Takes everything of the backup service out of a pool's stores and their copies. The data stays.</summary>
public sealed record DisableRequest : JobRequest;

/// <summary>Writes an earlier state of a pool's user store to a file of its own, or of its content store to a folder. One of <see cref="At"/> and <see cref="Revision"/> names it.</summary>
public sealed record RestoreRequest : JobRequest
{
    /// <summary>The last state at or before this time.</summary>
    public DateTimeOffset? At { get; init; }

    /// <summary>The state with this number, as <see cref="BackupService.GetHistory"/> lists it.</summary>
    public int? Revision { get; init; }

    /// <summary>Of which kind of data, for instance <c>ConfServices.DataConf</c>; null means the user store.</summary>
    public string? Module { get; init; }

    /// <summary>Of a content store: patterns of the names that are written, in which <c>*</c> stands for any characters and <c>?</c> for
    /// one. Empty means all.</summary>
    public IReadOnlyList<string> Include { get; init; } = [];

    /// <summary>Where it is written to: an absolute path at which nothing is.</summary>
    public required string Path { get; init; }
}
