using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace CsBackup.Tests;

/// <summary>A sample deployment in a folder whose name is not ASCII, removed at the end.</summary>
public sealed class Sample : IDisposable
{
    private readonly string _folder = Path.Combine(Path.GetTempPath(), $"csbackup-Müller-备份-{Guid.NewGuid():N}");

    public Sample()
    {
        using var unconnected = BackupService.Open();
        var made = unconnected.Request(
            new { request = "createSampleDeployment", folder = _folder, users = 40, contactsPerUser = 5, files = 60 });
        DeploymentFile = made.GetProperty("deploymentFile").GetString()!;
        Pools = [.. made.GetProperty("pools").EnumerateArray().Select(pool => pool.GetString()!)];
    }

    public string DeploymentFile { get; }

    public IReadOnlyList<string> Pools { get; }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}

/// <summary>A server that keeps the first pool's user store for itself: a job on it cannot end before this is disposed.</summary>
internal sealed class Held : IDisposable
{
    private readonly Process _server;

    public Held(Sample sample)
    {
        var store = Path.Combine(Path.GetDirectoryName(sample.DeploymentFile)!, "atl", "users.sqlite");
        var hold = Environment.GetEnvironmentVariable("CSB_HOLD") ?? throw new InvalidOperationException("CSB_HOLD does not name tests/hosts/hold.py");
        _server = Process.Start(new ProcessStartInfo(hold, [store]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        Assert.Equal("held", _server.StandardOutput.ReadLine());
    }

    public void Dispose()
    {
        _server.StandardInput.Close();
        _server.WaitForExit();
        _server.Dispose();
    }
}

/// <summary>Tells events on the job's own thread, one after another, so that tests see them in order.</summary>
internal sealed class Told(Action<Event>? then = null) : IProgress<Event>
{
    public List<Event> Events { get; } = [];

    public void Report(Event value)
    {
        Events.Add(value);
        then?.Invoke(value);
    }
}

public sealed class BackupServiceTests : IDisposable
{
    private readonly Sample _sample = new();
    private readonly BackupService _service;

    public BackupServiceTests() => _service = BackupService.Open(_sample.DeploymentFile);

    public void Dispose()
    {
        _service.Dispose();
        _sample.Dispose();
    }

    private BackupRequest Backup => new() { PoolFqdn = _sample.Pools[0] };

    [Fact]
    public async Task A_backup_tells_its_progress_and_reports()
    {
        var told = new Told();
        var report = await _service.RunAsync(Backup, told);

        Assert.Equal(Outcome.Succeeded, report.Outcome);
        Assert.Equal(_sample.Pools[0], report.PoolFqdn);
        Assert.Equal(3, report.Modules.Count);
        Assert.All(report.Modules, module => Assert.Equal(Outcome.Succeeded, module.Outcome));
        Assert.All(report.Modules, module => Assert.True(module.Moved.ItemsWritten > 0, module.Module));
        Assert.Equal(66, report.Modules[1].Moved.ItemsWritten);
        Assert.Empty(report.Errors);

        Assert.IsType<StartedEvent>(told.Events[0]);
        Assert.Single(told.Events.OfType<FinishedEvent>());
        Assert.IsType<FinishedEvent>(told.Events[^1]);
        Assert.Contains(told.Events, e => e is ProgressEvent);
        Assert.Contains(told.Events, e => e is StateChangedEvent { To: "SteadyState" });
        Assert.Equal(told.Events.Select(e => e.Seq).Order(), told.Events.Select(e => e.Seq));
    }

    [Fact]
    public async Task A_backup_can_be_cancelled_and_run_again()
    {
        using var stop = new CancellationTokenSource();
        var told = new Told(e => { if (e is StepStartedEvent) { stop.Cancel(); } });
        using (new Held(_sample))
        {
            var report = await _service.RunAsync(Backup, told, stop.Token);
            Assert.Equal(Outcome.Cancelled, report.Outcome);
        }
        Assert.Equal(Outcome.Cancelled, Assert.Single(told.Events.OfType<FinishedEvent>()).Outcome);

        Assert.Equal(Outcome.Succeeded, (await _service.RunAsync(Backup)).Outcome);
    }

    [Fact]
    public async Task What_is_cancelled_before_the_start_does_not_start()
    {
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => _service.RunAsync(Backup, cancellationToken: new CancellationToken(canceled: true)));
        Assert.Empty(_service.Request(new { request = "listJobs" }).GetProperty("jobs").EnumerateArray());
    }

    [Fact]
    public async Task A_sync_moves_what_differs_and_makes_a_page()
    {
        var page = await _service.RunToHtmlAsync(new SyncRequest { PoolFqdn = _sample.Pools[0], Modules = ["DataConf"] });
        Assert.StartsWith("<!doctype html>", page, StringComparison.OrdinalIgnoreCase);
        Assert.Contains(_sample.Pools[0], page, StringComparison.Ordinal);
    }

    [Fact]
    public void A_library_says_what_it_can_do()
    {
        var told = _service.GetCapabilities();
        Assert.Equal(BackupService.LibraryVersion, told.LibraryVersion);
        Assert.Contains("backup", told.Jobs);
        Assert.Contains("getCapabilities", told.Requests);
        Assert.Contains(new Scheme("sqlite", true), told.Schemes);
        Assert.Equal(1, told.Documents["report"]);
    }

    [Fact]
    public async Task A_report_is_written_where_it_may_be()
    {
        var folder = Path.GetDirectoryName(_sample.DeploymentFile)!;
        var file = Path.Combine(folder, "report.json");
        _service.CheckReport(file);
        Assert.False(File.Exists(file));
        var report = await _service.RunAsync(Backup);
        Assert.Equal(file, _service.WriteReport(report.JobId, file));
        Assert.Equal(report.JobId, JsonSerializer.Deserialize<Report>(File.ReadAllText(file), Documents.Json)!.JobId);

        var store = Path.Combine(folder, "atl", "users.sqlite");
        var before = File.ReadAllBytes(store);
        Assert.Equal("ReportRefused", Assert.Throws<CsBackupException>(() => _service.CheckReport(store)).Kind);
        Assert.Equal("ReportRefused", Assert.Throws<CsBackupException>(() => _service.WriteReport(report.JobId, store)).Kind);
        Assert.Equal(before, File.ReadAllBytes(store));
    }

    [Fact]
    public async Task A_sync_gives_back_where_that_is_asked_for()
    {
        var unasked = await _service.RunAsync(new SyncRequest { PoolFqdn = _sample.Pools[0] });
        Assert.All(unasked.Modules, module => Assert.Equal(Purpose.Copy, module.Purpose));
        Assert.Equal(2, unasked.Plan.Steps.Count(step => step.Id.StartsWith("look:", StringComparison.Ordinal) && step.Note is null));
        var report = await _service.RunAsync(new SyncRequest { PoolFqdn = _sample.Pools[0], GiveBack = true });
        Assert.Equal(3, report.Modules.Count(module => module.Purpose == Purpose.Copy));
        Assert.Equal(2, report.Modules.Count(module => module.Purpose == Purpose.CarryBack));
    }

    [Fact]
    public async Task An_error_says_what_to_do()
    {
        var report = await _service.RunAsync(new BackupRequest { PoolFqdn = "nowhere.litwareinc.com" });
        Assert.Equal(Outcome.Failed, report.Outcome);
        Assert.Null(report.BackupPoolFqdn);
        var failure = Assert.Single(report.Errors);
        Assert.Equal("UnknownPool", failure.Kind);
        Assert.Contains("nowhere.litwareinc.com", failure.Message, StringComparison.Ordinal);
        Assert.Contains(_sample.Pools[0], failure.Advice, StringComparison.Ordinal);
        Assert.NotEqual(0, failure.Status);
        Assert.False(failure.Retryable);
        var refused = await Assert.ThrowsAsync<CsBackupException>(
            () => _service.RunAsync(new SyncRequest { PoolFqdn = _sample.Pools[0], Modules = ["Coffee"] }));
        Assert.Equal("InvalidArgument", refused.Kind);
    }

    [Fact]
    public async Task Disabling_is_a_job_that_says_what_it_removed()
    {
        await _service.RunAsync(new BackupRequest { PoolFqdn = _sample.Pools[0] });
        var planned = await _service.RunAsync(new DisableRequest { PoolFqdn = _sample.Pools[0], WhatIf = true });
        Assert.NotEmpty(planned.Removed);
        Assert.Empty(planned.Steps);
        var done = await _service.RunAsync(new DisableRequest { PoolFqdn = _sample.Pools[0] });
        Assert.Equal(Outcome.Succeeded, done.Outcome);
        Assert.Equal(planned.Removed, done.Removed);
        Assert.All(done.Steps, step => Assert.NotNull(step.StartedAt));
    }

    [Fact]
    public void A_connection_is_tested_and_a_place_registered()
    {
        var seen = _service.TestConnection(_sample.Pools[0]);
        Assert.Equal((_sample.Pools[0], true, null), (seen.PoolFqdn, seen.Succeeded, seen.Line));
        Assert.Contains(seen.Checks, check => check is { Store: "userStore", Right: "read", IsOk: true });

        const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx csb@chi-1";
        var told = _service.RegisterPlace(_sample.Pools[0], ["read"], Key);
        Assert.EndsWith($" --partner {_sample.Pools[1]} --grant read\" {Key}", told.AuthorizedKeysLine, StringComparison.Ordinal);
        Assert.Contains(told.Instructions, instruction => instruction.AtPoolFqdn == _sample.Pools[1]);
        var refused = Assert.Throws<CsBackupException>(() => _service.RegisterPlace(_sample.Pools[0], ["write"]));
        Assert.Equal("InvalidArgument", refused.Error.Kind);
    }

    [Fact]
    public async Task An_earlier_state_is_listed_and_written_to_a_file()
    {
        await _service.RunAsync(Backup);
        var history = _service.GetHistory(_sample.Pools[0]);
        Assert.Equal((_sample.Pools[0], _sample.Pools[1]), (history.PoolFqdn, history.BackupPoolFqdn));
        Assert.Equal(["UserServices.PresenceFocus", "ConfServices.DataConf"], history.Modules.Select(module => module.Module));
        var state = Assert.Single(history.Modules[0].States);
        var content = Assert.Single(history.Modules[1].States);
        Assert.All(history.Modules, module => Assert.Null(module.Reason));

        var folder = Path.GetDirectoryName(_sample.DeploymentFile)!;
        var file = Path.Combine(folder, "earlier.sqlite");
        var request = new RestoreRequest { PoolFqdn = _sample.Pools[0], Revision = state.Revision, Path = file };
        Assert.Equal(Outcome.Succeeded, (await _service.RunAsync(request with { WhatIf = true })).Outcome);
        Assert.False(File.Exists(file));
        var report = await _service.RunAsync(request);
        Assert.Equal(Outcome.Succeeded, report.Outcome);
        Assert.Contains($"Revision {state.Revision} ", Assert.Single(report.Steps).Details[0], StringComparison.Ordinal);
        Assert.Equal(state.Bytes, new FileInfo(file).Length);
        Assert.Equal("ReportRefused", Assert.Single((await _service.RunAsync(request)).Errors).Kind);
        var neither = await Assert.ThrowsAsync<CsBackupException>(() => _service.RunAsync(request with { Revision = null }));
        Assert.Equal("OptionConflict", neither.Kind);

        var files = request with { Revision = content.Revision, Module = "ConfServices.DataConf", Path = Path.Combine(folder, "files") };
        Assert.Equal(Outcome.Succeeded, (await _service.RunAsync(files)).Outcome);
        Assert.NotEmpty(Directory.GetFiles(files.Path, "*", SearchOption.AllDirectories));
        var some = files with { Include = ["nothing has this name"], Path = Path.Combine(folder, "some") };
        Assert.Equal(Outcome.SucceededWithWarnings, (await _service.RunAsync(some)).Outcome);
    }

    [Fact]
    public void A_deployment_that_is_not_there_is_named_as_it_was_written()
    {
        var failure = Assert.Throws<CsBackupException>(() => BackupService.Open("/nonexistent/Größe 容量.toml"));
        Assert.Equal("FileMissing", failure.Kind);
        Assert.Contains("Größe 容量.toml", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_jobs_of_one_pool_do_not_both_run()
    {
        Task<Report>[] running;
        using (new Held(_sample))
        {
            running = [_service.RunAsync(Backup), _service.RunAsync(Backup)];
            await Task.WhenAny(running);
        }
        var reports = await Task.WhenAll(running);
        Assert.Single(reports, report => report.Outcome == Outcome.Succeeded);
        var refused = Assert.Single(reports, report => report.Outcome == Outcome.Failed);
        Assert.Equal("Conflict", Assert.Single(refused.Errors).Kind);
        Assert.True(refused.Errors[0].Retryable);
    }

    [Fact]
    public async Task A_handler_that_throws_cancels_the_job()
    {
        var told = new Told(e => { if (e is StepStartedEvent) { throw new InvalidOperationException("mine"); } });
        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => _service.RunAsync(Backup, told));
        Assert.Equal("mine", failure.Message);
        var again = Backup with { WaitForLeaseMs = 20_000 };
        Assert.Equal(Outcome.Succeeded, (await _service.RunAsync(again)).Outcome);
    }

    [Fact]
    public async Task Disposing_ends_the_jobs_and_later_calls_are_refused()
    {
        using var started = new ManualResetEventSlim();
        var running = _service.RunAsync(Backup, new Told(_ => started.Set()));
        Assert.True(started.Wait(TimeSpan.FromSeconds(20)));
        _service.Dispose();
        // The loop sees the end of the job, that the service was shut down, or that the handle was closed.
        var failure = await Record.ExceptionAsync(() => running);
        Assert.True(failure is null or ObjectDisposedException or CsBackupException { Kind: "ShutDown" or "InvalidArgument" }, $"{failure}");
        Assert.Throws<ObjectDisposedException>(() => _service.Request(new { request = "getPools" }));
        _service.Dispose();

        using var next = BackupService.Open(_sample.DeploymentFile);
        Assert.Equal(Outcome.Succeeded, (await next.RunAsync(Backup)).Outcome);
    }

    [Fact]
    public void What_later_versions_tell_is_ignored()
    {
        var json = JsonSerializer.Deserialize<JsonElement>(
            """{ "seq": 7, "at": "2026-11-01T10:00:00.123456789Z", "event": "somethingNew", "field": [1] }""");
        var told = Event.Read(json);
        Assert.Equal((7L, typeof(Event)), (told.Seq, told.GetType()));
    }
}
