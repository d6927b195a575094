using System.Text.Json;

namespace CsBackup;

/// <summary>One thing that happened in a job. Kinds that this version does not know are plain events.</summary>
public record Event : Document
{
    /// <summary>Its place in the job's list, from 1.</summary>
    public long Seq { get; init; }

    /// <summary>When.</summary>
    public DateTimeOffset At { get; init; }

    /// <summary>The module, where it belongs to one.</summary>
    public string? Module { get; init; }

    /// <summary>Reads an event.</summary>
    public static Event Read(JsonElement json) => json.GetProperty("event").GetString() switch
    {
        "started" => To<StartedEvent>(json),
        "stepStarted" => To<StepStartedEvent>(json),
        "progress" => To<ProgressEvent>(json),
        "stateChanged" => To<StateChangedEvent>(json),
        "warning" => To<WarningEvent>(json),
        "retrying" => To<RetryingEvent>(json),
        "stepFinished" => To<StepFinishedEvent>(json),
        "finished" => To<FinishedEvent>(json),
        _ => To<Event>(json),
    };

    private static T To<T>(JsonElement json) where T : Event =>
        json.Deserialize<T>(Documents.Json) ?? throw new JsonException("An event is null.");
}

/// <summary>The job began.</summary>
public sealed record StartedEvent : Event
{
    /// <summary>The command.</summary>
    public string Command { get; init; } = "";

    /// <summary>The pool.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>What it is going to do.</summary>
    public Plan Plan { get; init; } = new();
}

/// <summary>A step of the plan began.</summary>
public sealed record StepStartedEvent : Event
{
    /// <summary>Its id.</summary>
    public string Step { get; init; } = "";

    /// <summary>Its title.</summary>
    public string Title { get; init; } = "";
}

/// <summary>A step has come this far.</summary>
public sealed record ProgressEvent : Event
{
    /// <summary>The step's id.</summary>
    public string Step { get; init; } = "";

    /// <summary>What is being done.</summary>
    public string Activity { get; init; } = "";

    /// <summary>Items done.</summary>
    public long ItemsDone { get; init; }

    /// <summary>Items there are, where that is known.</summary>
    public long? ItemsTotal { get; init; }

    /// <summary>Bytes done.</summary>
    public long BytesDone { get; init; }

    /// <summary>Bytes there are, where that is known.</summary>
    public long? BytesTotal { get; init; }

    /// <summary>How many items a second.</summary>
    public double ItemsPerSecond { get; init; }

    /// <summary>How many bytes a second.</summary>
    public double BytesPerSecond { get; init; }

    /// <summary>Time left at this rate, where it can be told.</summary>
    public long? TimeLeftMs { get; init; }

    /// <summary>Bytes that crossed the lines to other machines since the job began, both ways; null where it reaches none.</summary>
    public long? LineBytes { get; init; }
}

/// <summary>A module's state is another one than before.</summary>
public sealed record StateChangedEvent : Event
{
    /// <summary><c>export</c> or <c>import</c>.</summary>
    public string Half { get; init; } = "";

    /// <summary>The state before.</summary>
    public string From { get; init; } = "";

    /// <summary>The state now.</summary>
    public string To { get; init; } = "";
}

/// <summary>Something an administrator should know.</summary>
public sealed record WarningEvent : Event
{
    /// <summary>The sentence.</summary>
    public string Message { get; init; } = "";
}

/// <summary>Something failed and is tried again after a pause.</summary>
public sealed record RetryingEvent : Event
{
    /// <summary>The coming attempt, from 2.</summary>
    public int Attempt { get; init; }

    /// <summary>The pause.</summary>
    public long DelayMs { get; init; }

    /// <summary>Why.</summary>
    public ErrorDocument Error { get; init; } = new();
}

/// <summary>A step of the plan ended.</summary>
public sealed record StepFinishedEvent : Event
{
    /// <summary>Its id.</summary>
    public string Step { get; init; } = "";

    /// <summary>How.</summary>
    public Outcome Outcome { get; init; }
}

/// <summary>The job ended; nothing follows.</summary>
public sealed record FinishedEvent : Event
{
    /// <summary>How.</summary>
    public Outcome Outcome { get; init; }

    /// <summary>How long it took.</summary>
    public long DurationMs { get; init; }
}
