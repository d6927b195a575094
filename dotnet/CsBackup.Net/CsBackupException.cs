using System.Text.Json;

namespace CsBackup;

/// <summary>A call that failed: what happened, where, and what to do.</summary>
public sealed class CsBackupException : Exception
{
    private CsBackupException(ErrorDocument error) : base(error.Message) => Error = error;

    /// <summary>The error document.</summary>
    public ErrorDocument Error { get; }

    /// <summary>The stable id, for instance <c>UnknownPool</c>.</summary>
    public string Kind => Error.Kind;

    /// <summary>What to do.</summary>
    public string Advice => Error.Advice;

    internal static CsBackupException From(int status, string? document)
    {
        var error = document is null ? null : JsonSerializer.Deserialize<ErrorDocument>(document, Documents.Json);
        return new CsBackupException(error ?? new ErrorDocument { Status = status, Message = $"The call failed with status {status}." });
    }
}
