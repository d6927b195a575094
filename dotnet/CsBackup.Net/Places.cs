namespace CsBackup;

/// <summary>One thing that an account has to be able to do with a store.</summary>
public sealed record AccessCheck : Document
{
    /// <summary>What the store is: <c>userStore</c>, <c>contentStore</c>, <c>managementStore</c>, <c>userCopy</c>, <c>contentCopy</c> or <c>serviceStore</c>.</summary>
    public string Store { get; init; } = "";

    /// <summary>The file or folder.</summary>
    public string Path { get; init; } = "";

    /// <summary>What is done with it: <c>read</c>, <c>list</c>, <c>write</c> or <c>open</c>.</summary>
    public string Right { get; init; } = "";

    /// <summary>Whether the account may do that.</summary>
    public bool IsOk { get; init; }

    /// <summary>Why not; or that it is not there, where it need not be.</summary>
    public string? Why { get; init; }

    /// <summary>What to do.</summary>
    public string? Advice { get; init; }
}

/// <summary>What was seen of a pool's stores, and of the line to them.</summary>
public sealed record PoolConnection : Document
{
    /// <summary>The pool.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>The pool that receives its data.</summary>
    public string? BackupPoolFqdn { get; init; }

    /// <summary>Through what its stores are reached; null where this machine opens them itself.</summary>
    public string? Place { get; init; }

    /// <summary>Whether everything is as jobs need it.</summary>
    public bool Succeeded { get; init; }

    /// <summary>The account that opens the stores.</summary>
    public string Account { get; init; } = "";

    /// <summary>What this account may do with each of them.</summary>
    public IReadOnlyList<AccessCheck> Checks { get; init; } = [];

    /// <summary>The line, and who answers at its other end; null where there is no line.</summary>
    public Line? Line { get; init; }

    /// <summary>What is allowed, but hardly meant.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];
}

/// <summary>A line to another machine, and who answers there.</summary>
public sealed record Line : Document
{
    /// <summary>The machine's host keys that this account's ssh knows.</summary>
    public IReadOnlyList<string> HostKeys { get; init; } = [];

    /// <summary>The version of the program there.</summary>
    public string Version { get; init; } = "";

    /// <summary>The operating system there.</summary>
    public string System { get; init; } = "";

    /// <summary>The pool whose stores are opened there.</summary>
    public string ServedPoolFqdn { get; init; } = "";

    /// <summary>The pool for whose machine that is done.</summary>
    public string? PartnerFqdn { get; init; }

    /// <summary>What this machine may do there.</summary>
    public IReadOnlyList<string> Grants { get; init; } = [];

    /// <summary>The folder that the stores lie below.</summary>
    public string Root { get; init; } = "";

    /// <summary>How long it took until the first answer, with all that connecting takes, in milliseconds.</summary>
    public double ConnectingMs { get; init; }

    /// <summary>How long a call takes there and back, in milliseconds.</summary>
    public double RoundTripMs { get; init; }

    /// <summary>How many bytes come in a second, of what cannot be compressed; null where that could not be measured.</summary>
    public double? BytesPerSecond { get; init; }

    /// <summary>By how much the clock there is ahead of this machine's, in milliseconds.</summary>
    public long ClockAheadMs { get; init; }
}

/// <summary>What an administrator pastes so that the partner's machine may reach a pool's stores.</summary>
public sealed record PlaceRegistration : Document
{
    /// <summary>The pool whose stores are reached.</summary>
    public string PoolFqdn { get; init; } = "";

    /// <summary>The pool whose machine reaches them.</summary>
    public string PartnerFqdn { get; init; } = "";

    /// <summary>Its place.</summary>
    public string Place { get; init; } = "";

    /// <summary>The account that the partner's key leads to.</summary>
    public string Account { get; init; } = "";

    /// <summary>What the partner may do.</summary>
    public IReadOnlyList<string> Grants { get; init; } = [];

    /// <summary>The line for that account's <c>authorized_keys</c>.</summary>
    public string AuthorizedKeysLine { get; init; } = "";

    /// <summary>What to do, in this order.</summary>
    public IReadOnlyList<Instruction> Instructions { get; init; } = [];

    /// <summary>The account that this was asked with, whose rights are shown.</summary>
    public string CheckedAccount { get; init; } = "";

    /// <summary>What that account may do with the stores.</summary>
    public IReadOnlyList<AccessCheck> Checks { get; init; } = [];
}

/// <summary>Lines to paste at one machine.</summary>
public sealed record Instruction : Document
{
    /// <summary>At which pool's machine.</summary>
    public string AtPoolFqdn { get; init; } = "";

    /// <summary>What they do.</summary>
    public string Purpose { get; init; } = "";

    /// <summary>For a shell.</summary>
    public IReadOnlyList<string> Lines { get; init; } = [];
}
