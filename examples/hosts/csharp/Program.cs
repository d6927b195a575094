// An example host: backs a pool up, or synchronizes it with its backup pool, and shows what happens. Ctrl+C cancels.
// Exit code: 0 succeeded or nothing to do, 1 failed, 2 wrong usage, 3 succeeded with warnings, 4 cancelled.
using CsBackup;

var sync = args.Contains("--sync");
var givesBack = args.Contains("--give-back");
var file = args.SkipWhile(argument => argument != "--report").Skip(1).FirstOrDefault();
if (args.Length < 2 || args.Length != 2 + (sync ? 1 : 0) + (sync && givesBack ? 1 : 0) + (file is null ? 0 : 2))
{
    Console.Error.WriteLine("usage: BackupHost DEPLOYMENT.toml POOL [--sync [--give-back]] [--report FILE.html|FILE.json]");
    return 2;
}

using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, pressed) => { pressed.Cancel = true; stop.Cancel(); };
try
{
    using var service = BackupService.Open(args[0]);
    if (file is not null)
    {
        service.CheckReport(file);
    }
    JobRequest request = sync
        ? new SyncRequest { PoolFqdn = args[1], GiveBack = givesBack ? true : null }
        : new BackupRequest { PoolFqdn = args[1] };
    var report = await service.RunAsync(request, new Screen(), stop.Token);
    Console.WriteLine($"\n{report.Outcome} in {report.DurationMs:N0} ms (job {report.JobId})");
    foreach (var module in report.Modules)
    {
        var written = $"{module.Moved.ItemsWritten:N0} {(module.Purpose == Purpose.Copy ? "written" : "given back")}";
        Console.WriteLine($"  {module.Module,-27} {module.Outcome}, {written}, {module.Moved.ItemsDeleted:N0} deleted");
        foreach (var item in module.Quarantined)
        {
            Console.WriteLine($"  not copied: {item.Item}: {item.Reason} {item.Advice}");
        }
    }
    foreach (var error in report.Modules.SelectMany(module => module.Errors).Concat(report.Errors))
    {
        Console.WriteLine($"{error.Kind}: {error.Message}\n  what to do: {error.Advice}");
    }
    if (file is not null)
    {
        Console.WriteLine($"Report: {service.WriteReport(report.JobId, file)}");
    }
    return report.Outcome switch
    {
        Outcome.Failed => 1,
        Outcome.SucceededWithWarnings => 3,
        Outcome.Cancelled => 4,
        _ => 0,
    };
}
catch (CsBackupException failure)
{
    Console.Error.WriteLine($"{failure.Kind}: {failure.Message}\n  what to do: {failure.Advice}");
    return 1;
}

/// <summary>Prints events; the line of progress is rewritten in a terminal and left out of files and pipes.</summary>
internal sealed class Screen : IProgress<Event>
{
    private readonly bool _terminal = !Console.IsOutputRedirected;
    private readonly Dictionary<string, string> _titles = [];

    public void Report(Event value)
    {
        switch (value)
        {
            case StartedEvent started:
                Line($"{started.Command} {started.PoolFqdn}");
                foreach (var (number, step) in started.Plan.Steps.Index())
                {
                    Line($"  {number + 1}. {step.Title}");
                }
                break;
            case StepStartedEvent step:
                _titles[step.Step] = step.Title;
                break;
            case ProgressEvent at when _terminal:
                // A database is counted in bytes.
                var (done, all, unit) = at.ItemsDone > 0 || at.BytesTotal is null ? (at.ItemsDone, at.ItemsTotal, "items") : (at.BytesDone, at.BytesTotal, "bytes");
                Console.Write($"\r\x1b[K  {at.Activity}: {done:N0}{(all is { } total ? $" of {total:N0}" : "")} {unit}");
                break;
            case StepFinishedEvent step:
                Line($"  {step.Outcome}: {_titles.GetValueOrDefault(step.Step, step.Step)}");
                break;
            case StateChangedEvent changed:
                Line($"  {changed.Module}: {changed.From} -> {changed.To} ({changed.Half})");
                break;
            case WarningEvent warning:
                Line($"  warning: {warning.Message}");
                break;
            case RetryingEvent retrying:
                Line($"  {retrying.Error.Message} Attempt {retrying.Attempt} in {retrying.DelayMs} ms.");
                break;
        }
    }

    private void Line(string text) => Console.WriteLine((_terminal ? "\r\x1b[K" : "") + text);
}
