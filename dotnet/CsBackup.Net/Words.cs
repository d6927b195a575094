using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace CsBackup;

/// <summary>Reads the words of enumerations that have an <c>Unknown</c>: a newer library may tell of more than this version knows.</summary>
internal sealed class WordConverterFactory : JsonConverterFactory
{
    public override bool CanConvert(Type type) => type.IsEnum && Enum.IsDefined(type, "Unknown");

    public override JsonConverter CreateConverter(Type type, JsonSerializerOptions options) =>
        (JsonConverter)Activator.CreateInstance(typeof(WordConverter<>).MakeGenericType(type))!;

    private sealed class WordConverter<T> : JsonConverter<T> where T : struct, Enum
    {
        private static readonly Dictionary<T, string> s_words = Enum.GetValues<T>().ToDictionary(value => value, Word);

        private static readonly Dictionary<string, T> s_values =
            s_words.ToDictionary(pair => pair.Value, pair => pair.Key, StringComparer.OrdinalIgnoreCase);

        public override T Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options) =>
            reader.TokenType == JsonTokenType.String
                ? s_values.GetValueOrDefault(reader.GetString()!, Enum.Parse<T>("Unknown"))
                : throw new JsonException($"A {type.Name} is no text.");

        public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options) => writer.WriteStringValue(s_words[value]);

        private static string Word(T value) =>
            typeof(T).GetField(value.ToString())?.GetCustomAttribute<JsonStringEnumMemberNameAttribute>()?.Name ?? value.ToString();
    }
}
