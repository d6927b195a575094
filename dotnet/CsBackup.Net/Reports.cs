using System.Text.Json;
using System.Text.Json.Serialization;

namespace CsBackup;

/// <summary>What a job did.</summary>
public sealed record Report : Document
{
    /// <summary>Grows when a field changes its meaning, not when one is added.</summary>
    public int SchemaVersion { get; init; }

    /// <summary>Unique for ever.</summary>
    public Guid JobId { get; init; }

    /// <summary>The command, as administrators know it.</summary>
    public string Command { get; init; } = "";

    /// <summary>The job's request as it was understood, defaults filled in.</summary>
    public JsonElement Request { get; init; }

    /// <summary>The pool.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>Its partner; null where the job ended before it knew its pool.</summary>
    public string? BackupPoolFqdn { get; init; }

    /// <summary>How it ended: as the worst of the modules.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>Whether it planned only.</summary>
    public bool WhatIf { get; init; }

    /// <summary>When it began.</summary>
    public DateTimeOffset StartedAt { get; init; }

    /// <summary>When it ended.</summary>
    public DateTimeOffset FinishedAt { get; init; }

    /// <summary>How long it took.</summary>
    public long DurationMs { get; init; }

    /// <summary>How many attempts failed and were made again.</summary>
    public int Retries { get; init; }

    /// <summary>Where it ran.</summary>
    public HostInfo Host { get; init; } = new("", 0, "");

    /// <summary>What was going to be done.</summary>
    public Plan Plan { get; init; } = new();

    /// <summary>What became of each step of the plan; empty where it only planned.</summary>
    public IReadOnlyList<StepReport> Steps { get; init; } = [];

    /// <summary>Module by module.</summary>
    public IReadOnlyList<ModuleReport> Modules { get; init; } = [];

    /// <summary>What was removed of the backup service itself, or would be.</summary>
    public IReadOnlyList<RemovedItem> Removed { get; init; } = [];

    /// <summary>The file that names everything that was changed, a JSON document in each line; null where nothing has a name.</summary>
    public string? NamesFile { get; init; }

    /// <summary>What an administrator should know.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>What failed, outside of modules.</summary>
    public IReadOnlyList<ErrorDocument> Errors { get; init; } = [];
}

/// <summary>Where a job ran.</summary>
/// <param name="Machine">The machine.</param>
/// <param name="ProcessId">The process.</param>
/// <param name="LibraryVersion">The version of the native library.</param>
public sealed record HostInfo(string Machine, int ProcessId, string LibraryVersion) : Document;

/// <summary>What a job is going to do.</summary>
public sealed record Plan : Document
{
    /// <summary>In this order.</summary>
    public IReadOnlyList<PlannedStep> Steps { get; init; } = [];
}

/// <summary>One step of a plan.</summary>
public sealed record PlannedStep : Document
{
    /// <summary><c>copy:</c>, <c>carryBack:</c>, <c>look:</c>, <c>disable:</c> or <c>restore:</c> and the module, or another step's name.</summary>
    public string Id { get; init; } = "";

    /// <summary>For people.</summary>
    public string Title { get; init; } = "";

    /// <summary>The module, where the step is one's.</summary>
    public string? Module { get; init; }

    /// <summary>The stores that it writes to.</summary>
    public IReadOnlyList<string> Touches { get; init; } = [];

    /// <summary>How many items it will move, where that is known.</summary>
    public long? Items { get; init; }

    /// <summary>Whether <see cref="Items"/> is an estimate: counting would have held up the pool's servers.</summary>
    public bool ItemsEstimated { get; init; }

    /// <summary>How much it will move, where that is known.</summary>
    public long? Bytes { get; init; }

    /// <summary>What was seen beforehand and a person should know: what the partner lacks.</summary>
    public string? Note { get; init; }

    /// <summary>What it would be refused with, where a job that only plans has seen that.</summary>
    public string? Refused { get; init; }
}

/// <summary>What became of a step.</summary>
public sealed record StepReport : Document
{
    /// <summary>The planned step's.</summary>
    public string Id { get; init; } = "";

    /// <summary>For people.</summary>
    public string Title { get; init; } = "";

    /// <summary>The module, where the step is one's.</summary>
    public string? Module { get; init; }

    /// <summary>When it began; null where it did not run.</summary>
    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>How long it took.</summary>
    public long DurationMs { get; init; }

    /// <summary>How it ended; skipped where it did not run.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>Lines for people.</summary>
    public IReadOnlyList<string> Details { get; init; } = [];
}

/// <summary>What a module did for whom.</summary>
public enum Purpose
{
    /// <summary>It brought a pool's copy at its backup pool up to date.</summary>
    [JsonStringEnumMemberName("copy")]
    Copy,

    /// <summary>It gave a pool back what it had lost and its backup pool still held.</summary>
    [JsonStringEnumMemberName("carryBack")]
    CarryBack,

    /// <summary>Something that this version does not know.</summary>
    Unknown,
}

/// <summary>How far the export of a module has come.</summary>
public enum ExportState
{
    /// <summary>Nothing was exported yet.</summary>
    NotInitialized,

    /// <summary>More changes are pending than one batch can carry.</summary>
    NonSteadyState,

    /// <summary>Every pending change fits into one batch.</summary>
    SteadyState,

    /// <summary>Nothing is left, the backup pool has imported everything, and the pool makes no changes.</summary>
    FinalState,

    /// <summary>The last export failed.</summary>
    ErrorState,

    /// <summary>A state that this version does not know.</summary>
    Unknown,
}

/// <summary>Whether imports of a module work at the backup pool.</summary>
public enum ImportState
{
    /// <summary>They do.</summary>
    NormalState,

    /// <summary>The last one failed.</summary>
    ErrorState,

    /// <summary>A state that this version does not know.</summary>
    Unknown,
}

/// <summary>What a job did for one module.</summary>
public sealed record ModuleReport : Document
{
    /// <summary>Its name.</summary>
    public string Module { get; init; } = "";

    /// <summary>Whether it copied or gave back.</summary>
    public Purpose Purpose { get; init; }

    /// <summary>Which pool was read and which one written.</summary>
    public Direction Direction { get; init; } = new("", "");

    /// <summary>How it ended.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>States and pending changes before.</summary>
    public ModuleState Before { get; init; } = new();

    /// <summary>States and pending changes after.</summary>
    public ModuleState After { get; init; } = new();

    /// <summary>What was written and removed.</summary>
    public Moved Moved { get; init; } = new();

    /// <summary>What was changed, by name: the first of each kind. Where it only planned: what would be.</summary>
    public IReadOnlyList<ChangesOfKind> Changes { get; init; } = [];

    /// <summary>What a comparison found, where everything was compared.</summary>
    public Verification? Verification { get; init; }

    /// <summary>Where the destination stands, in the module's own words.</summary>
    public string? Cursor { get; init; }

    /// <summary>How long it took.</summary>
    public long DurationMs { get; init; }

    /// <summary>Items that could not be copied while everything else was.</summary>
    public IReadOnlyList<QuarantinedItem> Quarantined { get; init; } = [];

    /// <summary>What an administrator should know.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>What failed.</summary>
    public IReadOnlyList<ErrorDocument> Errors { get; init; } = [];
}

/// <summary>From where to where data went.</summary>
/// <param name="From">The pool that was read.</param>
/// <param name="To">The pool that was written.</param>
public sealed record Direction(string From, string To) : Document;

/// <summary>Both halves of a module's state, and how much is pending.</summary>
public sealed record ModuleState : Document
{
    /// <summary>The exporting half.</summary>
    public ExportState Export { get; init; }

    /// <summary>The importing half.</summary>
    public ImportState Import { get; init; }

    /// <summary>Changes that the standby copy does not hold yet.</summary>
    public long PendingItems { get; init; }

    /// <summary>Their size, where the module knows it.</summary>
    public long PendingBytes { get; init; }

    /// <summary>The age of the oldest of them.</summary>
    public long? LagMs { get; init; }
}

/// <summary>What was written to and removed from the destination.</summary>
public sealed record Moved : Document
{
    /// <summary>Items written; of a user store, pages.</summary>
    public long ItemsWritten { get; init; }

    /// <summary>Items removed.</summary>
    public long ItemsDeleted { get; init; }

    /// <summary>Bytes written.</summary>
    public long Bytes { get; init; }

    /// <summary>Batches exported and imported.</summary>
    public long Batches { get; init; }
}

/// <summary>What became of something that has a name.</summary>
public enum ChangeKind
{
    /// <summary>The destination has it now, and had nothing of this name.</summary>
    [JsonStringEnumMemberName("copied")]
    Copied,

    /// <summary>The destination had another version.</summary>
    [JsonStringEnumMemberName("replaced")]
    Replaced,

    /// <summary>The destination had it under another name.</summary>
    [JsonStringEnumMemberName("renamed")]
    Renamed,

    /// <summary>Only its mode, owner, times or extended attributes changed.</summary>
    [JsonStringEnumMemberName("attributes")]
    Attributes,

    /// <summary>The destination has it no more.</summary>
    [JsonStringEnumMemberName("deleted")]
    Deleted,

    /// <summary>What others had changed there was moved out of the way, and is kept.</summary>
    [JsonStringEnumMemberName("keptAside")]
    KeptAside,

    /// <summary>The pool had lost it and has it again.</summary>
    [JsonStringEnumMemberName("givenBack")]
    GivenBack,

    /// <summary>It would have been deleted or replaced, and that was refused.</summary>
    [JsonStringEnumMemberName("withheld")]
    Withheld,

    /// <summary>Something that this version does not know.</summary>
    Unknown,
}

/// <summary>The changes of one kind.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Items">How many there are.</param>
/// <param name="First">The first of them.</param>
public sealed record ChangesOfKind(ChangeKind Kind, long Items, IReadOnlyList<Change> First) : Document;

/// <summary>One change.</summary>
/// <param name="Item">The object's name: its path within the store.</param>
/// <param name="Bytes">Its size, where it has one.</param>
/// <param name="From">The name that it had before.</param>
/// <param name="KeptAs">Where it is kept, within the store.</param>
public sealed record Change(string Item, long? Bytes = null, string? From = null, string? KeptAs = null) : Document;

/// <summary>What a comparison of a store and its copy found.</summary>
public sealed record Verification : Document
{
    /// <summary>Why everything was compared.</summary>
    public IReadOnlyList<string> Reasons { get; init; } = [];

    /// <summary>Items of the source; of a user store, pages.</summary>
    public long ComparedItems { get; init; }

    /// <summary>Items that were wrong, missing or superfluous at the destination.</summary>
    public long DifferingItems { get; init; }

    /// <summary>How many of these were put right.</summary>
    public long RepairedItems { get; init; }

    /// <summary>Where they were.</summary>
    public IReadOnlyList<Differing> Differing { get; init; } = [];
}

/// <summary>How much differed in one place.</summary>
/// <param name="Name">The table, folder or kind of document.</param>
/// <param name="Items">How many items.</param>
public sealed record Differing(string Name, long Items) : Document;

/// <summary>Something of the backup service's in a store.</summary>
/// <param name="Store">The store's URL.</param>
/// <param name="Kind">Folder or fence of a user store's copy, trigger or table of an earlier build, marker, temporaryFile or row.</param>
/// <param name="Name">Its name there.</param>
public sealed record RemovedItem(string Store, string Kind, string Name) : Document;

/// <summary>An item that could not be copied.</summary>
/// <param name="Item">Which.</param>
/// <param name="Reason">Why.</param>
/// <param name="Advice">What to do.</param>
public sealed record QuarantinedItem(string Item, string Reason, string Advice) : Document;
