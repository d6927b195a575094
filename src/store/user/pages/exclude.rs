//! Which tables the topology names as not worth keeping.

/// Whether a table is named by one of these patterns; `*` stands for any characters.
pub(super) fn is_excluded(table: &str, exclude: &[String]) -> bool {
    exclude.iter().any(|pattern| matches(&pattern.to_lowercase(), &table.to_lowercase()))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| matches(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_tables_whatever_their_case() {
        let exclude = ["Spool".to_owned(), "tmp_*".to_owned(), "*_cache".to_owned()];
        let named = |table| is_excluded(table, &exclude);
        assert!(named("spool") && named("TMP_1") && named("tmp_") && named("a_Cache"));
        assert!(!named("spool2") && !named("xtmp_1") && !named("cache"));
    }
}
