using System.Text.Json;
using System.Text.Json.Serialization;

namespace CsBackup;

/// <summary>How documents are read and written: camelCase, nulls left out, unknown fields kept, unknown words as <c>Unknown</c>.</summary>
public static class Documents
{
    /// <summary>The options for all of them.</summary>
    public static JsonSerializerOptions Json { get; } = new(JsonSerializerDefaults.Web)
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new WordConverterFactory(), new JsonStringEnumConverter() },
    };
}

/// <summary>A document, or a part of one, that may have more fields than this version knows.</summary>
public abstract record Document
{
    /// <summary>The fields that this version does not know; null where there are none.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Rest { get; init; }
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

    /// <summary>In a way that this version does not know.</summary>
    Unknown,
}

/// <summary>One failure, as calls and reports tell it.</summary>
public sealed record ErrorDocument : Document
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

    /// <summary>Which half of copying failed: <c>export</c> where data is read, <c>import</c> where it is written; null where it was neither.</summary>
    public string? Side { get; init; }

    /// <summary>Where: pool, module, path, field.</summary>
    public IReadOnlyDictionary<string, string> Context { get; init; } = new Dictionary<string, string>();

    /// <summary>What lies underneath, the nearest first.</summary>
    public IReadOnlyList<string> Causes { get; init; } = [];
}

/// <summary>What a version of the library can do.</summary>
public sealed record Capabilities
{
    /// <summary>The version of the C ABI.</summary>
    public int AbiVersion { get; init; }

    /// <summary>The version of the library.</summary>
    public string LibraryVersion { get; init; } = "";

    /// <summary>The jobs that can be started.</summary>
    public IReadOnlyList<string> Jobs { get; init; } = [];

    /// <summary>The requests that are answered.</summary>
    public IReadOnlyList<string> Requests { get; init; } = [];

    /// <summary>The schemes of stores' URLs.</summary>
    public IReadOnlyList<Scheme> Schemes { get; init; } = [];

    /// <summary>The versions of documents, by name.</summary>
    public IReadOnlyDictionary<string, int> Documents { get; init; } = new Dictionary<string, int>();

    /// <summary>The languages of messages.</summary>
    public IReadOnlyList<string> Languages { get; init; } = [];
}

/// <summary>The states of a pool's stores that can be restored.</summary>
public sealed record History : Document
{
    /// <summary>The pool whose stores they are.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>The pool that holds them.</summary>
    public string BackupPoolFqdn { get; init; } = "";

    /// <summary>By kind of data.</summary>
    public IReadOnlyList<ModuleHistory> Modules { get; init; } = [];
}

/// <summary>The states of one store that can be restored.</summary>
public sealed record ModuleHistory : Document
{
    /// <summary>The module's name.</summary>
    public string Module { get; init; } = "";

    /// <summary>The newest first.</summary>
    public IReadOnlyList<StoreState> States { get; init; } = [];

    /// <summary>Why there are none, where no history of this kind of data is kept.</summary>
    public string? Reason { get; init; }
}

/// <summary>A state of a store that can be restored.</summary>
public sealed record StoreState : Document
{
    /// <summary>Its number; it grows with every sync that changed something.</summary>
    public int Revision { get; init; }

    /// <summary>When the store was in it.</summary>
    public DateTimeOffset At { get; init; }

    /// <summary>The job that copied it; null where that is not known.</summary>
    public Guid? JobId { get; init; }

    /// <summary>What kind of job that was: backup or sync; null where that is not known.</summary>
    public string? JobKind { get; init; }

    /// <summary>The size of the store.</summary>
    public long Bytes { get; init; }

    /// <summary>What keeping the state takes.</summary>
    public long KeptBytes { get; init; }

    /// <summary>Why the copy was changed after it, where that was no ordinary sync.</summary>
    public string? Reason { get; init; }
}

/// <summary>A scheme of stores' URLs.</summary>
/// <param name="Name">The scheme, without its colon.</param>
/// <param name="IsSupported">Whether such stores can be opened; else they are known, and refused by name.</param>
public sealed record Scheme(string Name, bool IsSupported);
