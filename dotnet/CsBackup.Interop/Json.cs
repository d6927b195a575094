#nullable enable
using System;
using System.Collections;
using System.Globalization;
using System.Text;

namespace CsBackup.Interop
{
    /// <summary>Writes requests. .NET Framework has no serializer that knows PowerShell's values.</summary>
    internal static class Json
    {
        /// <param name="value">Null, a text, a truth value, a number, a dictionary, a list, or one of them as PowerShell wraps it.</param>
        /// <exception cref="ArgumentException">It is or contains something else.</exception>
        internal static string Write(object? value)
        {
            var json = new StringBuilder();
            Write(value, json);
            return json.ToString();
        }

        private static void Write(object? value, StringBuilder json)
        {
            switch (Unwrap(value))
            {
                case null:
                    json.Append("null");
                    break;
                case string text:
                    WriteText(text, json);
                    break;
                case bool truth:
                    json.Append(truth ? "true" : "false");
                    break;
                case IDictionary fields:
                    WriteFields(fields, json);
                    break;
                case IEnumerable items:
                    WriteItems(items, json);
                    break;
                case IConvertible number when number.GetTypeCode() is >= TypeCode.SByte and <= TypeCode.Decimal && number is not Enum:
                    json.Append(number.ToString(CultureInfo.InvariantCulture));
                    break;
                case var other:
                    throw new ArgumentException("A request cannot contain a " + other.GetType().FullName + ".", nameof(value));
            }
        }

        private static void WriteText(string text, StringBuilder json)
        {
            json.Append('"');
            foreach (var character in text)
            {
                if (character is '"' or '\\')
                {
                    json.Append('\\').Append(character);
                }
                else if (character < ' ')
                {
                    json.Append("\\u").Append(((int)character).ToString("x4", CultureInfo.InvariantCulture));
                }
                else
                {
                    json.Append(character);
                }
            }
            json.Append('"');
        }

        private static void WriteFields(IDictionary fields, StringBuilder json)
        {
            var separator = '{';
            foreach (DictionaryEntry field in fields)
            {
                json.Append(separator);
                WriteText((string)Unwrap(field.Key)!, json);
                json.Append(':');
                Write(field.Value, json);
                separator = ',';
            }
            json.Append(separator == '{' ? "{}" : "}");
        }

        private static void WriteItems(IEnumerable items, StringBuilder json)
        {
            var separator = '[';
            foreach (var item in items)
            {
                json.Append(separator);
                Write(item, json);
                separator = ',';
            }
            json.Append(separator == '[' ? "[]" : "]");
        }

        // The assembly is for every PowerShell, so it references none: what wraps a value is told by its name.
        private static object? Unwrap(object? value)
        {
            if (value?.GetType() is not { FullName: "System.Management.Automation.PSObject" } wrapper)
            {
                return value;
            }
            // What a function without output gives.
            var nothing = wrapper.Assembly.GetType("System.Management.Automation.Internal.AutomationNull")?.GetProperty("Value")?.GetValue(null);
            return ReferenceEquals(value, nothing) ? null : wrapper.GetProperty("BaseObject")!.GetValue(value);
        }
    }
}
