//! Which tables the topology names as not worth keeping.

use std::path::Path;

use crate::error::Result;
use crate::store::sqlite::{Access, open, quote, sqlite_error, tables};
use crate::store::wildcard;

/// Empties these tables of a database that becomes what servers write to; one that needs functions of the server's is left as it is. The
/// names of those that were emptied.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn empty(database: &Path, exclude: &[String]) -> Result<Vec<String>> {
    if exclude.is_empty() {
        return Ok(Vec::new());
    }
    let connection = open(database, Access::Write)?;
    let tables = tables(&connection).map_err(|cause| sqlite_error("write", database, &cause))?;
    let is_empty = |table: &String| {
        is_excluded(table, exclude)
            && connection.execute(&format!("DELETE FROM {}", quote(table)), []).is_ok()
    };
    Ok(tables.into_iter().filter(is_empty).collect())
}

/// What patterns hash to: new ones are compared with the tables of a copy once, also where nothing has changed in it.
pub(super) fn patterns(exclude: &[String]) -> u64 {
    if exclude.is_empty() { 0 } else { xxhash_rust::xxh3::xxh3_64(exclude.join("\0").as_bytes()) }
}

/// Whether a table is named by one of these patterns.
pub(super) fn is_excluded(table: &str, exclude: &[String]) -> bool {
    exclude.iter().any(|pattern| wildcard::matches(pattern, table))
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
