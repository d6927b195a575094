/*
 * Just enough JSON to read CsBackup's documents without a library: find a field, step through an array, take a value.
 *
 * A value is a pointer into the document's text; NULL stands for "there is none", and every function accepts it, so that
 * look-ups can be chained. The documents come from the library and are well-formed; a broken one yields NULL, never a read
 * past its end. A real application uses its JSON library instead.
 */
#ifndef CSB_EXAMPLE_JSON_H
#define CSB_EXAMPLE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline const char *json_blanks(const char *at)
{
    return at == NULL ? NULL : at + strspn(at, " \t\r\n");
}

/* The place behind a string that starts at `at`. */
static inline const char *json_after_string(const char *at)
{
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at == '\\' && at[1] != '\0') {
            at++;
        }
    }
    return *at == '"' ? at + 1 : NULL;
}

/* The place behind the value that starts at `at`. Brackets need no matching by kind: the document is well-formed. */
static inline const char *json_after(const char *at)
{
    size_t depth = 0;
    for (at = json_blanks(at); at != NULL && *at != '\0'; at = json_blanks(at)) {
        if (*at == '"') {
            at = json_after_string(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) {
                return NULL;
            }
            depth--;
            at++;
        } else if (*at == ',' || *at == ':') {
            if (depth == 0) {
                return NULL;
            }
            at++;
            continue;
        } else {
            at += strcspn(at, " \t\r\n,:]}");
        }
        if (depth == 0) {
            return at;
        }
    }
    return NULL;
}

/* The first element of an array, or NULL. */
static inline const char *json_first(const char *array)
{
    array = json_blanks(array);
    if (array == NULL || *array != '[') {
        return NULL;
    }
    array = json_blanks(array + 1);
    return *array == ']' || *array == '\0' ? NULL : array;
}

/* The element that follows one, or NULL. */
static inline const char *json_next(const char *element)
{
    element = json_blanks(json_after(element));
    return element != NULL && *element == ',' ? json_blanks(element + 1) : NULL;
}

/* The value of an object's own field, or NULL. Fields of nested objects are not looked at. */
static inline const char *json_field(const char *object, const char *name)
{
    object = json_blanks(object);
    if (object == NULL || *object != '{') {
        return NULL;
    }
    size_t length = strlen(name);
    for (const char *key = json_blanks(object + 1); key != NULL && *key == '"';) {
        const char *end = json_after_string(key);
        const char *colon = json_blanks(end);
        if (colon == NULL || *colon != ':') {
            return NULL;
        }
        const char *value = json_blanks(colon + 1);
        if ((size_t)(end - key) == length + 2 && memcmp(key + 1, name, length) == 0) {
            return value;
        }
        key = json_next(value);
    }
    return NULL;
}

/* Whether there is a value that is not null. */
static inline bool json_exists(const char *value)
{
    value = json_blanks(value);
    return value != NULL && strncmp(value, "null", 4) != 0;
}

static inline double json_number(const char *value)
{
    value = json_blanks(value);
    return value != NULL && (*value == '-' || (*value >= '0' && *value <= '9')) ? strtod(value, NULL) : 0.0;
}

static inline unsigned long json_hex4(const char *at)
{
    char digits[5] = {0};
    for (int i = 0; i < 4 && at[i] != '\0'; i++) {
        digits[i] = at[i];
    }
    return strtoul(digits, NULL, 16);
}

static inline size_t json_utf8(unsigned long point, char out[4])
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (point & 0x3F));
        point >>= 6;
    }
    out[0] = (char)((0xF00 >> length) | point);
    return length;
}

/* A string value with its escapes undone, cut to `size` bytes with the final NUL; "" where there is none. */
static inline const char *json_string(const char *value, char *out, size_t size)
{
    size_t used = 0;
    value = json_blanks(value);
    if (value != NULL && *value == '"') {
        const char *at = value + 1;
        while (*at != '\0' && *at != '"') {
            char bytes[4] = {*at};
            size_t length = 1;
            if (*at == '\\' && at[1] != '\0') {
                at++;
                static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
                const char *simple = strchr(from, *at);
                bytes[0] = simple != NULL ? to[simple - from] : *at;
                if (*at == 'u' && strlen(at) > 4) {
                    unsigned long point = json_hex4(at + 1);
                    at += 4;
                    if (point >= 0xD800 && point < 0xDC00 && at[1] == '\\' && at[2] == 'u' && strlen(at) > 6) {
                        point = 0x10000 + ((point - 0xD800) << 10) + (json_hex4(at + 3) & 0x3FF);
                        at += 6;
                    }
                    length = json_utf8(point, bytes);
                }
            }
            if (used + length >= size) {
                break;
            }
            memcpy(out + used, bytes, length);
            used += length;
            at++;
        }
    }
    out[used] = '\0';
    return out;
}

/* Whether a value is this string. */
static inline bool json_is(const char *value, const char *text)
{
    char buffer[128];
    return json_exists(value) && strcmp(json_string(value, buffer, sizeof buffer), text) == 0;
}

/* A text as a JSON string, quotes included; NULL where it does not fit. */
static inline char *json_quote(const char *text, char *out, size_t size)
{
    size_t used = 0;
    if (size < 3) {
        return NULL;
    }
    out[used++] = '"';
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (used + 8 > size) {
            return NULL;
        }
        if (byte == '"' || byte == '\\') {
            out[used++] = '\\';
            out[used++] = (char)byte;
        } else if (byte < 0x20) {
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", byte);
        } else {
            out[used++] = (char)byte;
        }
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

#endif
