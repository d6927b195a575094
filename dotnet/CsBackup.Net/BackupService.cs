using System.Runtime.InteropServices;
using System.Text.Json;

namespace CsBackup;

/// <summary>One deployment of CsBackup. Every member may be used from any thread at any time.</summary>
public sealed class BackupService : IDisposable
{
    /// <summary>How long one poll waits: a thread is never longer in native code than this.</summary>
    private const uint SliceMs = 100;
    private const uint ShutdownMs = 10_000;
    private const int Json = 0, Html = 1;

    private readonly ServiceHandle _handle;

    private BackupService(ServiceHandle handle) => _handle = handle;

    /// <summary>The version of the native library.</summary>
    public static string LibraryVersion => Marshal.PtrToStringUTF8(Native.csb_version()) ?? "";

    /// <summary>Opens a deployment; without one only requests that need none are answered.</summary>
    /// <exception cref="CsBackupException">The deployment file is missing or not valid.</exception>
    /// <exception cref="NotSupportedException">The native library has another ABI.</exception>
    public static BackupService Open(string? deploymentFile = null)
    {
        var abi = Native.csb_abi_version();
        if (abi != Native.AbiVersion)
        {
            throw new NotSupportedException(
                $"The native library {LibraryVersion} has ABI {abi}, this assembly needs {Native.AbiVersion}: install both from one release.");
        }
        var config = JsonSerializer.Serialize(new { deploymentFile }, Documents.Json);
        var status = Native.csb_service_open(config, out var handle, out var error);
        try
        {
            Native.Check(status, error);
            return new BackupService(handle);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Answers a request document, an object with the field <c>request</c>.</summary>
    /// <exception cref="CsBackupException">What the library says.</exception>
    public JsonElement Request(object request)
    {
        var status = Native.csb_service_request(_handle, JsonSerializer.Serialize(request, Documents.Json), out var reply, out var error);
        return JsonSerializer.Deserialize<JsonElement>(Native.Take(status, reply, error));
    }

    /// <summary>What the library can do.</summary>
    public Capabilities GetCapabilities() => Request(new { request = "getCapabilities" }).Deserialize<Capabilities>(Documents.Json)
        ?? throw new JsonException("The capabilities are null.");

    /// <summary>The states of a pool's stores that a <see cref="RestoreRequest"/> can write to a file.</summary>
    /// <param name="poolFqdn">The pool.</param>
    /// <param name="localStore">Whether the topology comes from the local replica.</param>
    /// <exception cref="CsBackupException"><c>UnknownPool</c>, and what keeps the history from being read.</exception>
    public History GetHistory(string poolFqdn, bool localStore = false) =>
        Request(new { request = "getPoolBackupHistory", poolFqdn, localStore }).Deserialize<History>(Documents.Json)
        ?? throw new JsonException("The history is null.");

    /// <summary>Whether this machine reaches what jobs need of a pool's stores, and what is missing. Nothing is written.</summary>
    /// <param name="poolFqdn">The pool.</param>
    /// <param name="localStore">Whether the topology comes from the local replica.</param>
    /// <exception cref="CsBackupException"><c>UnknownPool</c>; <c>StoreUnavailable</c>, <c>PeerRefused</c> and <c>PeerIncompatible</c> of
    /// another machine.</exception>
    public PoolConnection TestConnection(string poolFqdn, bool localStore = false) =>
        Request(new { request = "testPoolConnection", poolFqdn, localStore }).Deserialize<PoolConnection>(Documents.Json)
        ?? throw new JsonException("The connection is null.");

    /// <summary>What an administrator pastes so that the machine of a pool's partner may reach the pool's stores. Nothing is written.</summary>
    /// <param name="poolFqdn">The pool whose stores are reached.</param>
    /// <param name="grants">What the partner may do: <c>read</c>.</param>
    /// <param name="publicKey">The partner's public key, one line; null for lines in which it is to be filled in.</param>
    /// <param name="localStore">Whether the topology comes from the local replica.</param>
    /// <exception cref="CsBackupException"><c>UnknownPool</c>, <c>NotPaired</c>, <c>InvalidArgument</c>; <c>PeerRefused</c> at another
    /// machine.</exception>
    public PlaceRegistration RegisterPlace(
        string poolFqdn, IReadOnlyList<string> grants, string? publicKey = null, bool localStore = false) =>
        Request(new { request = "registerPoolPlace", poolFqdn, grants, publicKey, localStore })
            .Deserialize<PlaceRegistration>(Documents.Json)
        ?? throw new JsonException("The registration is null.");

    /// <summary>Throws where the library would not write a report to this file; writes nothing.</summary>
    /// <param name="file">A file that does not exist yet, or an ordinary one that is none of the deployment's.</param>
    /// <exception cref="CsBackupException"><c>ReportRefused</c>, and what keeps the file from being written.</exception>
    public void CheckReport(string file) => Request(new { request = "writeReport", file = Path.GetFullPath(file), whatIf = true });

    /// <summary>Writes the report of a job that has ended, as JSON to FILE.json, else as one self-contained HTML page.</summary>
    /// <param name="jobId">The job; a plan is not kept, so that there is no report of it any more.</param>
    /// <param name="file">The file; null for a new one in a folder of this account's own.</param>
    /// <returns>The path of the file.</returns>
    /// <exception cref="CsBackupException">As for <see cref="CheckReport"/>.</exception>
    public string WriteReport(Guid jobId, string? file = null)
    {
        var path = file is null ? null : Path.GetFullPath(file);
        return Request(new { request = "writeReport", jobId, file = path }).GetProperty("file").GetString() ?? "";
    }

    /// <summary>
    /// Runs a job to its end. Cancelling stops it at the next safe point; the task then ends with a report that says
    /// <see cref="Outcome.Cancelled"/>, because what was done until then is worth knowing.
    /// </summary>
    /// <param name="request">What to do.</param>
    /// <param name="progress">Is told every event, in their order.</param>
    /// <param name="cancellationToken">Stops the job.</param>
    /// <exception cref="CsBackupException">The request is wrong. What fails later, an unknown pool too, is in the report.</exception>
    /// <exception cref="OperationCanceledException">Cancelled before it was started.</exception>
    public async Task<Report> RunAsync(
        JobRequest request, IProgress<Event>? progress = null, CancellationToken cancellationToken = default)
    {
        var json = await RunAsync(request, Json, progress, cancellationToken).ConfigureAwait(false);
        return JsonSerializer.Deserialize<Report>(json, Documents.Json) ?? throw new JsonException("A report is null.");
    }

    /// <summary>The same, with the report as one self-contained HTML page.</summary>
    public Task<string> RunToHtmlAsync(
        JobRequest request, IProgress<Event>? progress = null, CancellationToken cancellationToken = default) =>
        RunAsync(request, Html, progress, cancellationToken);

    private Task<string> RunAsync(JobRequest request, int format, IProgress<Event>? progress, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(request);
        // A thread of its own: the loop blocks in slices, which a pool's thread should not.
        return Task.Factory.StartNew(
            () => Run(request, format, progress, cancellationToken),
            cancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    private string Run(JobRequest request, int format, IProgress<Event>? progress, CancellationToken cancellationToken)
    {
        var job = Start(request);
        try
        {
            // At once, not at the next slice. A job that has ended by then is not harmed.
            using var registration = cancellationToken.Register(() => Cancel(job));
            Follow(job, progress);
            var status = Native.csb_job_report(_handle, job, format, out var report, out var error);
            return Native.Take(status, report, error);
        }
        catch
        {
            Cancel(job);
            throw;
        }
        finally
        {
            // Where the job has not ended yet (a progress handler threw), it is forgotten with the service.
            _ = Native.csb_job_release(_handle, job, out var error);
            Native.csb_string_free(error);
        }
    }

    private ulong Start(JobRequest request)
    {
        var status = Native.csb_job_start(_handle, JsonSerializer.Serialize(request, Documents.Json), out var job, out var error);
        Native.Check(status, error);
        return job;
    }

    private void Follow(ulong job, IProgress<Event>? progress)
    {
        for (ulong seen = 0; ;)
        {
            var status = Native.csb_job_poll(_handle, job, seen, SliceMs, out var events, out var error);
            var reply = JsonSerializer.Deserialize<JsonElement>(Native.Take(status, events, error));
            seen = reply.GetProperty("lastSeq").GetUInt64();
            foreach (var told in reply.GetProperty("events").EnumerateArray().Select(Event.Read))
            {
                progress?.Report(told);
                if (told is FinishedEvent)
                {
                    return;
                }
            }
        }
    }

    private void Cancel(ulong job)
    {
        _ = Native.csb_job_cancel(_handle, job, out var error);
        Native.csb_string_free(error);
    }

    /// <summary>Cancels what runs, waits up to ten seconds for the reports, and frees the service.</summary>
    public void Dispose()
    {
        if (!_handle.IsClosed)
        {
            _ = Native.csb_service_shutdown(_handle, ShutdownMs, out var error);
            Native.csb_string_free(error);
            _handle.Dispose();
        }
    }
}
