//! How numbers, sizes and times are written for people.
//!
//! A no-break space stands between a number and its unit. Everything is integer arithmetic, so that the same report
//! gives the same page on every machine.

use jiff::Timestamp;

const NBSP: char = '\u{a0}';
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A number with thousands separators: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 item`, `12,345 items`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{}{NBSP}{}", count(number), if number == 1 { one } else { many })
}

/// A size in binary units, three or four digits long: `1.5 MiB`, `1,020 KiB`.
pub fn bytes(size: u64) -> String {
    let size = u128::from(size);
    let mut unit_size = 1;
    let mut text = String::new();
    for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        let tenths = u64::try_from((size * 10 + unit_size / 2) / unit_size).unwrap_or(u64::MAX);
        let number = if tenths < 1_000 { decimal(tenths) } else { count(tenths.saturating_add(5) / 10) };
        text = format!("{number}{NBSP}{unit}");
        // What rounds up to 1,024 of a unit belongs to the next one.
        if tenths.saturating_add(5) < 10_240 {
            break;
        }
        unit_size *= 1024;
    }
    text
}

/// A duration for tables and charts: `250 ms`, `1.5 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..SECOND => format!("{ms}{NBSP}ms"),
        SECOND..MINUTE => format!("{}{NBSP}s", decimal(ms / 100)),
        MINUTE..HOUR => short(ms / MINUTE, "min", ms % MINUTE / SECOND, "s"),
        HOUR..DAY => short(ms / HOUR, "h", ms % HOUR / MINUTE, "min"),
        DAY.. => short(ms / DAY, "d", ms % DAY / HOUR, "h"),
    }
}

/// A duration in words: `1.5 seconds`, `3 minutes 20 seconds`.
pub fn duration_words(ms: u64) -> String {
    match ms {
        0..SECOND => counted(ms, "millisecond", "milliseconds"),
        SECOND..1_100 => counted(1, "second", "seconds"),
        1_100..MINUTE => format!("{}{NBSP}seconds", decimal(ms / 100)),
        MINUTE..HOUR => words(ms / MINUTE, "minute", ms % MINUTE / SECOND, "second"),
        HOUR..DAY => words(ms / HOUR, "hour", ms % HOUR / MINUTE, "minute"),
        DAY.. => words(ms / DAY, "day", ms % DAY / HOUR, "hour"),
    }
}

/// A moment in UTC to the second: `2026-11-01 10:00:00 UTC`.
pub fn utc(moment: &Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The character to show for one that a page must not hold or that would make a text look like another one.
///
/// Control characters are not valid in HTML; marks of writing direction let `exe.fdp` be shown as `pdf.exe`.
pub fn visible(character: char) -> char {
    match character {
        '\n' => character,
        '\0'..='\u{1f}' => char::from_u32(u32::from(character) + 0x2400).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{fdd0}'..='\u{fdef}' => '\u{fffd}',
        other if u32::from(other) & 0xfffe == 0xfffe => '\u{fffd}',
        other => other,
    }
}

fn decimal(tenths: u64) -> String {
    match tenths % 10 {
        0 => count(tenths / 10),
        tenth => format!("{}.{tenth}", count(tenths / 10)),
    }
}

fn short(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{}{NBSP}{large_unit}", count(large)),
        _ => format!("{}{NBSP}{large_unit} {small}{NBSP}{small_unit}", count(large)),
    }
}

fn words(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    let plural = |number, unit: &str| counted(number, unit, &format!("{unit}s"));
    match small {
        0 => plural(large, large_unit),
        _ => format!("{} {}", plural(large, large_unit), plural(small, small_unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace(NBSP, " ")
    }

    #[test]
    fn counts_have_separators() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        assert_eq!(plain(counted(1, "item", "items")), "1 item");
        assert_eq!(plain(counted(1_000, "item", "items")), "1,000 items");
    }

    #[test]
    fn sizes_use_binary_units() {
        let cases = [
            (0, "0 B"),
            (1023, "1,023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1_046_630, "1,022 KiB"),
            (1_044_480, "1,020 KiB"),
            (1_048_575, "1 MiB"),
            (1_048_576, "1 MiB"),
            (5_368_709_120, "5 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (size, text) in cases {
            assert_eq!(plain(bytes(size)), text, "{size}");
        }
    }

    #[test]
    fn durations_name_two_units_at_most() {
        let cases = [
            (0, "0 ms", "0 milliseconds"),
            (1, "1 ms", "1 millisecond"),
            (999, "999 ms", "999 milliseconds"),
            (1_000, "1 s", "1 second"),
            (1_099, "1 s", "1 second"),
            (1_500, "1.5 s", "1.5 seconds"),
            (59_999, "59.9 s", "59.9 seconds"),
            (60_000, "1 min", "1 minute"),
            (200_000, "3 min 20 s", "3 minutes 20 seconds"),
            (7_500_000, "2 h 5 min", "2 hours 5 minutes"),
            (90_000_000, "1 d 1 h", "1 day 1 hour"),
        ];
        for (ms, brief, long) in cases {
            assert_eq!(plain(duration(ms)), brief, "{ms}");
            assert_eq!(plain(duration_words(ms)), long, "{ms}");
        }
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn moments_are_in_utc() {
        let moment: Timestamp = "2026-11-01T11:00:00.5+01:00".parse().unwrap();
        assert_eq!(utc(&moment), "2026-11-01 10:00:00 UTC");
    }

    #[test]
    fn characters_that_deceive_or_break_are_replaced() {
        let shown: String = "a\0b\nc\u{1b}d\u{202e}e\u{7f}é漢\u{ffff}".chars().map(visible).collect();
        assert_eq!(shown, "a\u{2400}b\nc\u{241b}d\u{fffd}e\u{2421}é漢\u{fffd}");
    }
}
