//! How long earlier states of a standby copy are kept, and how much room they may take.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What a topology says of the history of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryLimits {
    /// How long a state is kept, for instance `7d` or `36h`.
    #[serde(with = "span")]
    pub keep: SignedDuration,
    /// How much room all of them may take.
    pub max: HistorySize,
    /// Whether a sync is refused (`HistoryFull`) where a state would have to go before its time: so it is where another machine writes the
    /// copy. No topology says it.
    #[serde(skip)]
    pub is_strict: bool,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits {
            keep: SignedDuration::from_hours(7 * 24),
            max: HistorySize::TimesStore(2),
            is_strict: false,
        }
    }
}

/// An amount of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HistorySize {
    /// So many times the size of the copy: `2x`.
    TimesStore(u64),
    /// So many bytes: `500MiB`, `10GiB`.
    Bytes(u64),
}

/// What counts as the size of a smaller store.
const SMALLEST_BYTES: u64 = 64 << 20;

const UNITS: [(&str, u64); 3] = [("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

impl HistorySize {
    /// In bytes, for a copy of this size. The states of a small store are small, and a busy hour of them takes many times its size: the times
    /// of one that is smaller than 64 MiB are those of 64 MiB.
    pub fn bytes(self, store: u64) -> u64 {
        match self {
            HistorySize::TimesStore(times) => store.max(SMALLEST_BYTES).saturating_mul(times),
            HistorySize::Bytes(bytes) => bytes,
        }
    }
}

impl TryFrom<String> for HistorySize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!("\"{text}\" is no amount of room: write \"2x\" for twice the store's size, or \"10GiB\"")
        };
        if let Some(times) = text.strip_suffix('x') {
            return times.trim().parse().map(HistorySize::TimesStore).map_err(|_| wrong());
        }
        for (unit, bytes) in UNITS {
            if let Some(number) = text.strip_suffix(unit) {
                let number: u64 = number.trim().parse().map_err(|_| wrong())?;
                return number.checked_mul(bytes).map(HistorySize::Bytes).ok_or_else(wrong);
            }
        }
        Err(wrong())
    }
}

impl From<HistorySize> for String {
    fn from(size: HistorySize) -> String {
        size.to_string()
    }
}

impl fmt::Display for HistorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            HistorySize::TimesStore(times) => write!(f, "{times}x"),
            HistorySize::Bytes(bytes) => {
                let (unit, each) =
                    UNITS.into_iter().rev().find(|(_, each)| bytes % each == 0).unwrap_or(("MiB", 1 << 20));
                write!(f, "{}{unit}", bytes / each)
            }
        }
    }
}

/// How a topology writes a span: days, hours, minutes.
pub(crate) fn span_text(span: SignedDuration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        _ if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        _ => format!("{}m", seconds / 60),
    }
}

/// Reads one; `d`, `h` and `m` alone or after each other.
pub(crate) fn span_of(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("\"{text}\" is no span: write \"7d\", \"36h\" or \"90m\"");
    let mut seconds: i64 = 0;
    let mut digits = String::new();
    for letter in text.trim().chars().filter(|letter| !letter.is_whitespace()) {
        let unit = match letter {
            '0'..='9' => {
                digits.push(letter);
                continue;
            }
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            _ => return Err(wrong()),
        };
        let number: i64 = digits.parse().map_err(|_| wrong())?;
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        digits.clear();
    }
    if seconds == 0 || !digits.is_empty() { Err(wrong()) } else { Ok(SignedDuration::from_secs(seconds)) }
}

mod span {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(span: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::span_text(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        super::span_of(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written_and_nonsense_is_refused() {
        for (text, bytes) in [("2x", 128 << 20), ("500MiB", 500 << 20), ("3GiB", 3 << 30)] {
            let size = HistorySize::try_from(text.to_owned()).unwrap();
            assert_eq!((size.bytes(1_000), size.to_string().as_str()), (bytes, text));
        }
        assert_eq!(HistorySize::TimesStore(3).bytes(1 << 30), 3 << 30);
        for text in ["", "x", "2", "2 cats", "-1x", "99999999999TiB"] {
            HistorySize::try_from(text.to_owned()).unwrap_err();
        }
        for (text, seconds) in [("7d", 604_800), ("36h", 129_600), ("90m", 5_400), ("1d 12h", 129_600)] {
            assert_eq!(span_of(text).unwrap().as_secs(), seconds);
        }
        assert_eq!(span_text(SignedDuration::from_hours(24)), "1d");
        for text in ["", "7", "d", "0d", "7w", "99999999999999999999d"] {
            span_of(text).unwrap_err();
        }
    }
}
