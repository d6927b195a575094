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
    [InlineData("backupRequest", typeof(BackupRequest))]
    [InlineData("syncRequest", typeof(SyncRequest))]
    [InlineData("error", typeof(ErrorDocument))]
    public void Requests_and_errors_keep_every_field(string name, Type type)
    {
        var document = Example(name);
        Assert.Equal(Comparable(document), Comparable(Written(document.Deserialize(type, Documents.Json))));
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
