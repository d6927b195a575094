using CsBackup;

using var stop = new CancellationTokenSource();
Console.CancelKeyPress += (_, pressed) => { pressed.Cancel = true; stop.Cancel(); };

using var service = BackupService.Open(args[0]);
var progress = new Progress<Event>(told =>
{
    if (told is ProgressEvent { ItemsTotal: not null } at)
    {
        Console.WriteLine($"{at.Module}: {at.ItemsDone} of {at.ItemsTotal}");
    }
});
try
{
    var report = await service.RunAsync(new BackupRequest { PoolFqdn = args[1] }, progress, stop.Token);
    Console.WriteLine($"{report.Outcome} in {report.DurationMs} ms");
    foreach (var module in report.Modules)
    {
        Console.WriteLine($"  {module.Module}: {module.Outcome}, {module.Moved.ItemsWritten} items written");
    }
    return report.Outcome == Outcome.Failed ? 1 : 0;
}
catch (CsBackupException failure)
{
    Console.Error.WriteLine($"{failure.Kind}: {failure.Message} {failure.Advice}");
    return 1;
}
