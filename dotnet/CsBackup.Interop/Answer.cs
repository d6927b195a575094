#nullable enable
namespace CsBackup.Interop
{
    /// <summary>What one call gave. The documents are those of docs/documents.md.</summary>
    public sealed class Answer
    {
        internal Answer(string? failure, string? document, string? problem)
        {
            Failure = failure;
            Document = document;
            Problem = problem;
        }

        /// <summary>The name of the status of a call that failed, as StoreBusy; null where it succeeded.</summary>
        public string? Failure { get; }

        /// <summary>The reply, the events or the report; null where the call has none.</summary>
        public string? Document { get; }

        /// <summary>The error document of a call that failed; null where the library could not even write that.</summary>
        public string? Problem { get; }

        /// <summary>The job that was started, else 0.</summary>
        public ulong Job { get; internal set; }

        /// <summary>The service that was opened, else null.</summary>
        public Service? Service { get; internal set; }
    }
}
