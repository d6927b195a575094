using System.Text.Json;
using System.Text.Json.Nodes;
using Xunit;

namespace CsBackup.Tests;

/// <summary>The types of this library hold every field of the documents, as docs/documents.md shows them.</summary>
public sealed class DocumentsTests
{
    [Fact]
    public void A_report_keeps_every_field()
    {
        var report = Example("report");
        Assert.Equal(Comparable(report), Comparable(Written(report.Deserialize<Report>(Documents.Json))));
    }

    [Fact]
    public void Events_keep_every_field()
    {
        var events = Example("events")["events"]!.AsArray();
        Assert.NotEmpty(events);
        foreach (var told in events)
        {
            var read = Event.Read(told.Deserialize<JsonElement>());
            Assert.NotEqual(typeof(Event), read.GetType());
            var written = Written(read);
            // The kind is the type.
            written["event"] = told!["event"]!.DeepClone();
            Assert.Equal(Comparable(told), Comparable(written));
        }
    }

    [Theory]
    [InlineData("backupJob", typeof(JobRequest))]
    [InlineData("syncJob", typeof(JobRequest))]
    [InlineData("disableJob", typeof(JobRequest))]
    [InlineData("restoreJob", typeof(JobRequest))]
    [InlineData("error", typeof(ErrorDocument))]
    [InlineData("connection", typeof(PoolConnection))]
    [InlineData("registration", typeof(PlaceRegistration))]
    public void Requests_replies_and_errors_keep_every_field(string name, Type type)
    {
        var document = Example(name);
        var read = document.Deserialize(type, Documents.Json);
        Assert.Equal(Comparable(document), Comparable(JsonSerializer.SerializeToNode(read, type, Documents.Json)!));
    }

    [Fact]
    public void A_report_of_a_newer_build_is_read_and_keeps_what_is_new()
    {
        var newer = Example("report");
        Grow(newer);
        newer["outcome"] = "Paused";
        newer["steps"]![0]!["outcome"] = "Paused";
        newer["modules"]![0]!["purpose"] = "restore";
        newer["modules"]![0]!["before"]!["export"] = "HibernatingState";
        newer["modules"]![0]!["after"]!["import"] = "HibernatingState";
        var report = newer.Deserialize<Report>(Documents.Json)!;
        Assert.Equal(Outcome.Unknown, report.Outcome);
        Assert.Equal(Purpose.Unknown, report.Modules[0].Purpose);
        Assert.Equal(ExportState.Unknown, report.Modules[0].Before.Export);
        Assert.Equal(ImportState.Unknown, report.Modules[0].After.Import);
        newer["outcome"] = "Unknown";
        newer["steps"]![0]!["outcome"] = "Unknown";
        newer["modules"]![0]!["purpose"] = "Unknown";
        newer["modules"]![0]!["before"]!["export"] = "Unknown";
        newer["modules"]![0]!["after"]!["import"] = "Unknown";
        Assert.Equal(Comparable(newer), Comparable(Written(report)));
    }

    [Fact]
    public void Events_and_errors_of_a_newer_build_are_read_and_keep_what_is_new()
    {
        foreach (var told in Example("events")["events"]!.AsArray())
        {
            Grow(told!);
            Assert.Equal(Comparable(told), Comparable(Written(Event.Read(told.Deserialize<JsonElement>()))));
        }

        var unknown = JsonNode.Parse("""{ "seq": 7, "at": "2026-11-01T10:00:00Z", "event": "fenced", "store": "x" }""")!;
        Assert.Equal(Comparable(unknown), Comparable(Written(Event.Read(unknown.Deserialize<JsonElement>()))));
        var finished = JsonNode.Parse("""{ "seq": 8, "at": "2026-11-01T10:00:00Z", "event": "finished", "outcome": "Paused" }""")!;
        Assert.Equal(Outcome.Unknown, Assert.IsType<FinishedEvent>(Event.Read(finished.Deserialize<JsonElement>())).Outcome);
        var error = Example("error");
        Grow(error);
        error["kind"] = "OfANewerBuild";
        Assert.Equal(Comparable(error), Comparable(Written(error.Deserialize<ErrorDocument>(Documents.Json))));
    }

    /// <summary>Adds a field to a document and to every document in it, but not to maps.</summary>
    private static void Grow(JsonNode document)
    {
        if (document is JsonArray items)
        {
            foreach (var item in items)
            {
                Grow(item!);
            }
        }
        else if (document is JsonObject fields)
        {
            foreach (var field in fields.Where(field => field.Key is not ("context" or "request") && field.Value is not null))
            {
                Grow(field.Value!);
            }

            fields["fieldOfANewerBuild"] = new JsonObject { ["a"] = 1 };
        }
    }

    private static JsonNode Example(string name)
    {
        var lines = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "documents.md"));
        var block = lines.SkipWhile(line => line != $"<!-- example: {name} -->").Skip(2).TakeWhile(line => line != "```");
        return JsonNode.Parse(string.Join('\n', block))!;
    }

    private static JsonNode Written(object? document) => JsonSerializer.SerializeToNode(document, document!.GetType(), Documents.Json)!;

    /// <summary>Sorted, without nulls, and with times and numbers spelled in one way.</summary>
    private static string Comparable(JsonNode? node) => node switch
    {
        JsonObject fields => "{" + string.Join(
            ", ", fields.Where(field => field.Value is not null).OrderBy(field => field.Key, StringComparer.Ordinal)
                .Select(field => $"{field.Key}: {Comparable(field.Value)}")) + "}",
        JsonArray items => "[" + string.Join(", ", items.Select(Comparable)) + "]",
        JsonValue value when value.GetValueKind() == JsonValueKind.Number => $"{value.Deserialize<double>()}",
        JsonValue value when value.GetValueKind() == JsonValueKind.String && DateTimeOffset.TryParse(value.Deserialize<string>(), out var time) =>
            $"{time:O}",
        _ => node?.ToJsonString() ?? "null",
    };
}
