//! What a store can hold, and what it can tell apart.
//!
//! A file system may take two names for one (`a.txt` and `A.txt`), know no name that ends with a dot, or keep times by two
//! seconds. Whoever copies to it has to know before, and asks for it here: never for the name of the file system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::{ObjectKind, ObjectMeta, Refusal};

/// No rule has more characters than this.
const MOST_CHARACTERS: usize = 64;

/// Names that stand for devices where they are reserved, whatever follows a dot in them.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "COM", "LPT"];

/// Which letters of a name may differ in case without making it another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CaseRule {
    /// None.
    Exact,
    /// Those of ASCII.
    Ascii,
    /// All that have another case of the same length: `ß` and `ss` are two names.
    Simple,
    /// All: `ß` and `ss` are one name.
    Full,
}

/// What the length of a name is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LengthUnit {
    /// Bytes of UTF-8.
    Bytes,
    /// Units of UTF-16.
    Utf16,
}

/// What a store was found to hold and to tell apart; a value that any machine may have found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    /// Which names differ in case only.
    pub case: CaseRule,
    /// Whether names that differ in Unicode's normalization only are one.
    pub normalizes: bool,
    /// Whether a listing says a name as it was given.
    pub keeps_spelling: bool,
    /// Characters that no name may have; at most 64 count.
    pub forbidden: String,
    /// Whether names may have control characters.
    pub controls: bool,
    /// Characters that no name may end with; at most 64 count.
    pub forbidden_last: String,
    /// Whether the names of devices (`CON`, `NUL`, `LPT1.txt`) are no names of files.
    pub reserves_devices: bool,
    /// Whether names need not be UTF-8.
    pub any_bytes: bool,
    /// How long a name may be …
    pub longest_name: u32,
    /// … counted in these.
    pub length_unit: LengthUnit,
    /// Times are kept to this many nanoseconds; `i64::MAX` where none are.
    pub time_step_ns: i64,
    /// The earliest time that is kept, in nanoseconds since 1970.
    pub earliest_ns: i64,
    /// The latest time that is kept, in nanoseconds since 1970.
    pub latest_ns: i64,
    /// Whether permission bits are kept.
    pub modes: bool,
    /// Whether there are symbolic links.
    pub links: bool,
    /// Whether a file can have several names.
    pub hard_links: bool,
    /// Whether there are extended attributes of users.
    pub extended: bool,
}

impl Default for Abilities {
    /// Those of a file system that is like the usual ones of Linux.
    fn default() -> Self {
        Abilities {
            case: CaseRule::Exact,
            normalizes: false,
            keeps_spelling: true,
            forbidden: String::new(),
            controls: true,
            forbidden_last: String::new(),
            reserves_devices: false,
            any_bytes: true,
            longest_name: 255,
            length_unit: LengthUnit::Bytes,
            time_step_ns: 1,
            earliest_ns: ObjectMeta::EARLIEST_NS,
            latest_ns: ObjectMeta::LATEST_NS,
            modes: true,
            links: true,
            hard_links: true,
            extended: true,
        }
    }
}

impl Abilities {
    /// Whether no two names are one.
    pub fn tells_all_apart(&self) -> bool {
        self.case == CaseRule::Exact && !self.normalizes
    }

    /// Whether every name of a usual file system can be held, and told from every other one.
    pub fn holds_every_name(&self) -> bool {
        let usual = Abilities::default();
        self.tells_all_apart()
            && self.links
            && (&self.forbidden, self.controls, &self.forbidden_last)
                == (&usual.forbidden, usual.controls, &usual.forbidden_last)
            && (self.reserves_devices, self.any_bytes, self.longest_name, self.length_unit)
                == (usual.reserves_devices, usual.any_bytes, usual.longest_name, usual.length_unit)
    }

    /// What all names have in common that may be one. Errs towards one where the store's own table is not known.
    pub fn key(&self, name: &[u8]) -> Box<[u8]> {
        let Ok(text) = str::from_utf8(name) else {
            let is_exact = self.case == CaseRule::Exact;
            return if is_exact { name.into() } else { name.to_ascii_lowercase().into() };
        };
        let normal = |text: &str| if self.normalizes { text.nfd().collect() } else { text.to_owned() };
        let text = normal(text);
        let folded: String = match self.case {
            CaseRule::Exact => text,
            CaseRule::Ascii => text.to_ascii_lowercase(),
            CaseRule::Simple => text.chars().map(|letter| lower_one(upper_one(letter))).collect(),
            // What lowers to a letter that has an upper case of several.
            CaseRule::Full => {
                let folded = text.chars().filter(|letter| !is_ignorable(*letter));
                let folded = folded.flat_map(char::to_uppercase).flat_map(char::to_lowercase);
                folded.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
            }
        };
        normal(&folded).into_bytes().into()
    }

    /// Why an object of this name and kind cannot be held; none where it can.
    pub fn refusal(&self, name: &[u8], kind: ObjectKind) -> Option<Refusal> {
        if kind == ObjectKind::Link && !self.links {
            return Some(Refusal::new(
                "It is a symbolic link, and the destination's file system has none.",
                "Replace it by a copy of what it leads to, or put the destination on a file system that has links.",
            ));
        }
        self.why_not(name).map(|reason| {
            Refusal::new(
                format!("The destination's file system cannot hold such a name: {reason}."),
                "Rename it, or put the destination on a file system like the source's.",
            )
        })
    }

    fn why_not(&self, name: &[u8]) -> Option<String> {
        let Ok(text) = str::from_utf8(name) else {
            return (!self.any_bytes)
                .then(|| "it is not UTF-8".to_owned())
                .or_else(|| self.is_too_long(name.len()).then(|| self.too_long()));
        };
        let rule = |rule: &str, letter: char| rule.chars().take(MOST_CHARACTERS).any(|other| other == letter);
        if let Some(letter) = text.chars().find(|letter| rule(&self.forbidden, *letter)) {
            return Some(format!("it has the character {letter}"));
        }
        if !self.controls && text.chars().any(|letter| u32::from(letter) < 0x20) {
            return Some("it has a control character".to_owned());
        }
        if let Some(letter) = text.chars().next_back().filter(|letter| rule(&self.forbidden_last, *letter)) {
            let what = if letter == ' ' { "a space".to_owned() } else { letter.to_string() };
            return Some(format!("it ends with {what}"));
        }
        if self.reserves_devices && is_device(text) {
            return Some("it is the name of a device there".to_owned());
        }
        let length = match self.length_unit {
            LengthUnit::Bytes => name.len(),
            LengthUnit::Utf16 => text.encode_utf16().count(),
        };
        self.is_too_long(length).then(|| self.too_long())
    }

    fn is_too_long(&self, length: usize) -> bool {
        u32::try_from(length).map_or(true, |length| length > self.longest_name)
    }

    fn too_long(&self) -> String {
        let unit = match self.length_unit {
            LengthUnit::Bytes => "bytes",
            LengthUnit::Utf16 => "UTF-16 units",
        };
        format!("it is longer than {} {unit}", self.longest_name)
    }

    /// Whether a time that is held is what this one became when it was set.
    pub fn is_same_time(&self, held_ns: i64, given_ns: i64) -> bool {
        held_ns == given_ns
            || !self.keeps_time(given_ns)
            || held_ns.abs_diff(given_ns) < self.time_step_ns.unsigned_abs()
    }

    /// Whether a time is one that can be kept, but for being rounded.
    pub fn keeps_time(&self, time_ns: i64) -> bool {
        (self.earliest_ns..=self.latest_ns).contains(&time_ns)
    }
}

/// What has names that may be one, by what these have in common.
pub fn same_names<T>(
    abilities: &Abilities,
    named: impl Iterator<Item = T>,
    name: impl Fn(&T) -> &[u8],
) -> BTreeMap<Box<[u8]>, Vec<T>> {
    let mut classes: BTreeMap<Box<[u8]>, Vec<T>> = BTreeMap::new();
    for one in named {
        classes.entry(abilities.key(name(&one))).or_default().push(one);
    }
    classes
}

fn upper_one(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    if upper.len() == 1 { upper.next().unwrap_or(letter) } else { letter }
}

fn lower_one(letter: char) -> char {
    let mut lower = letter.to_lowercase();
    if lower.len() == 1 { lower.next().unwrap_or(letter) } else { letter }
}

/// What some file systems leave out of names before they compare them.
fn is_ignorable(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let (word, number) = match stem.char_indices().nth(3) {
        Some((at, _)) => stem.split_at(at),
        None => (stem.as_str(), ""),
    };
    let is_numbered = matches!(word, "COM" | "LPT");
    let has_number = matches!(number.as_bytes(), [b'1'..=b'9']);
    DEVICES.contains(&word) && if is_numbered { has_number } else { number.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Abilities)) -> Abilities {
        let mut abilities = Abilities::default();
        change(&mut abilities);
        abilities
    }

    #[test]
    fn names_that_may_be_one_have_one_key_and_others_do_not() {
        let rules = [CaseRule::Exact, CaseRule::Ascii, CaseRule::Simple, CaseRule::Full];
        // From which rule on they are one.
        let pairs = [
            ("a.txt", "A.TXT", 1),
            ("\u{e9}", "\u{c9}", 2),
            ("σ", "ς", 2),
            ("k", "\u{212a}", 2),
            ("straße", "STRASSE", 3),
            ("straße", "STRAẞE", 2),
            ("a", "b", 4),
            ("\u{e9}", "e\u{301}", 4),
        ];
        for (one, other, from) in pairs {
            for (at, case) in rules.into_iter().enumerate() {
                let abilities = with(|abilities| abilities.case = case);
                let is_one = abilities.key(one.as_bytes()) == abilities.key(other.as_bytes());
                assert_eq!(is_one, at >= from, "{one} {other} {case:?}");
            }
        }
        let normalizes = with(|abilities| abilities.normalizes = true);
        assert_eq!(normalizes.key("\u{e9}".as_bytes()), normalizes.key("e\u{301}".as_bytes()));
        assert_ne!(normalizes.key(b"a"), normalizes.key(b"A"));
        let both = with(|abilities| (abilities.case, abilities.normalizes) = (CaseRule::Full, true));
        assert_eq!(both.key("\u{c9}".as_bytes()), both.key("e\u{301}".as_bytes()));
        assert_eq!(both.key(b"A\xff"), both.key(b"a\xff"));
        assert_ne!(Abilities::default().key(b"A\xff"), Abilities::default().key(b"a\xff"));
    }

    #[test]
    fn what_cannot_be_held_is_told_by_its_name() {
        let windows = with(|abilities| {
            abilities.forbidden = "\"*:<>?\\|".to_owned();
            abilities.controls = false;
            abilities.forbidden_last = ". ".to_owned();
            abilities.reserves_devices = true;
            abilities.any_bytes = false;
            abilities.length_unit = LengthUnit::Utf16;
        });
        let long = "\u{e9}".repeat(255);
        for name in ["a", ".a", "a.b", "CONSOLE", "COM", "COM0", "LPT10", "con-", "a b", long.as_str()] {
            assert_eq!(windows.refusal(name.as_bytes(), ObjectKind::File), None, "{name}");
        }
        let longer = "e".repeat(256);
        for name in
            ["a:b", "a.", "a ", "con", "Con.txt", "com1", "LPT9.a.b", "nul .txt", "a\tb", longer.as_str()]
        {
            assert!(windows.refusal(name.as_bytes(), ObjectKind::File).is_some(), "{name}");
            if name.len() < 255 {
                assert_eq!(Abilities::default().refusal(name.as_bytes(), ObjectKind::File), None, "{name}");
            }
        }
        assert!(windows.refusal(b"\xff", ObjectKind::File).is_some());
        assert!(Abilities::default().refusal(long.as_bytes(), ObjectKind::File).is_some());
        assert!(!windows.holds_every_name() && Abilities::default().holds_every_name());
        let without = with(|abilities| abilities.links = false);
        assert!(without.refusal(b"a", ObjectKind::Link).is_some());
        assert!(without.refusal(b"a", ObjectKind::File).is_none());
    }

    #[test]
    fn a_rounded_time_is_the_one_that_was_given() {
        let coarse = with(|abilities| (abilities.time_step_ns, abilities.earliest_ns) = (2_000_000_000, 0));
        let given = 5_123_456_789;
        assert!(coarse.is_same_time(4_000_000_000, given) && coarse.is_same_time(6_000_000_000, given));
        assert!(!coarse.is_same_time(2_000_000_000, given) && !coarse.is_same_time(8_000_000_000, given));
        assert!(coarse.is_same_time(315_532_800_000_000_000, -1), "what cannot be kept became another one");
        let exact = Abilities::default();
        assert!(exact.is_same_time(given, given) && !exact.is_same_time(given - 1, given));
        let none = with(|abilities| abilities.time_step_ns = i64::MAX);
        assert!(none.is_same_time(0, given));
    }
}
