//! Patterns in which `*` stands for any characters and `?` for one, whatever the case of letters.

/// Whether a pattern matches the whole of a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (lower(pattern), lower(name));
    let (mut at, mut from) = (0, 0);
    // Where the last star was, and up to where it reaches so far: of several stars only the last one ever needs to grow.
    let mut star = None;
    while from < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || Some(wanted) == name.get(from) => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, reach)) => {
                    star = Some((star_at, reach + 1));
                    at = star_at + 1;
                    from = reach + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|left| *left == '*'))
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_is_any_characters_a_question_mark_one_and_case_is_nothing() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "a/b"),
            ("*.docx", "reports/Q1.DOCX"),
            ("reports/*", "Reports/2026/q.txt"),
            ("a*b*c", "axxbyybzzc"),
            ("q?.txt", "q1.txt"),
            ("\u{dc}ber*", "\u{fc}berall"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("?", ""),
            ("*.docx", "a.docx.bak"),
            ("a*b", "abc"),
            ("a", "b"),
            ("reports/*", "reports"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_answered_at_once() {
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
        assert!(!matches(&format!("{}b", "*a".repeat(500)), &"a".repeat(5_000)));
    }
}
