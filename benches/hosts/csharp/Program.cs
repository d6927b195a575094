// What calls cost a host in C#: Host DEPLOYMENT POOL. Prints "name milliseconds" lines.
using System.Diagnostics;
using System.Globalization;
using CsBackup;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
var pool = args[1];

void Tell(string name, double milliseconds) => Console.WriteLine($"{name} {milliseconds:F6}");

double Once(Action work)
{
    var started = Stopwatch.GetTimestamp();
    work();
    return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
}

double Median(Action work, int count = 300)
{
    var samples = Enumerable.Range(0, count).Select(_ => Once(work)).Order().ToArray();
    return samples[count / 2];
}

BackupService? service = null;
Tell("open", Once(() => service = BackupService.Open(args[0])));
using var opened = service!;
Tell("empty-call", Median(() => _ = BackupService.LibraryVersion));
Tell("status", Median(() => opened.Request(new { request = "getBackupServiceStatus", poolFqdn = pool })));
await opened.RunAsync(new SyncRequest { PoolFqdn = pool });
var started = Stopwatch.GetTimestamp();
await opened.RunAsync(new SyncRequest { PoolFqdn = pool });
Tell("idle-job", Stopwatch.GetElapsedTime(started).TotalMilliseconds);
