//! By what the rows of a table are told apart.

use super::schema::{Column, UniqueIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::topology::UserStoreConfig;

/// The key of a table: its primary key, else a unique index over NOT NULL columns, else what the topology names.
///
/// # Errors
/// `InvalidValue` where the topology names a column that the table does not have.
pub(super) fn choose_key(
    table: &str,
    columns: &[Column],
    unique: &[UniqueIndex],
    config: &UserStoreConfig,
) -> Result<Option<Vec<String>>> {
    let mut primary: Vec<&Column> = columns.iter().filter(|column| column.primary_key > 0).collect();
    if !primary.is_empty() {
        primary.sort_by_key(|column| column.primary_key);
        return Ok(Some(primary.into_iter().map(|column| column.name.clone()).collect()));
    }
    let not_null = |wanted: &str| {
        columns.iter().any(|column| column.name == wanted && column.not_null && !column.generated)
    };
    let named = |index: &UniqueIndex| -> Option<Vec<String>> {
        index.columns.iter().map(|(name, _)| name.clone().filter(|name| not_null(name))).collect()
    };
    if let Some(index) = unique.iter().filter(|index| !index.partial).find_map(named) {
        return Ok(Some(index));
    }
    // SQLite compares names without case.
    let Some((_, named)) = config.keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(table)) else {
        return Ok(None);
    };
    let declared = |name: &String| {
        let column = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        column.map(|column| column.name.clone()).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidValue,
                format!("The topology's key of table {table} names the column {name}, which the table does not have."),
                format!("Correct user_store.keys.{table} in the topology document and publish it again."),
            )
            .at("table", table)
        })
    };
    let key = named.iter().map(declared).collect::<Result<Vec<_>>>()?;
    Ok((!key.is_empty()).then_some(key))
}

/// The error that lists all tables without a key, with the lines that would give them one.
pub(super) fn key_missing(tables: &[(String, Vec<Column>)]) -> Error {
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    let lines: Vec<String> = tables
        .iter()
        .map(|(name, columns)| {
            let columns: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
            format!("\"{name}\" = [{}]", columns.join(", "))
        })
        .collect();
    Error::new(
        ErrorKind::KeyMissing,
        format!("Rows of these tables cannot be told apart, they have no key: {}.", names.join(", ")),
        format!(
            "Name key columns in user_store.keys of the topology (several rows may share a key; fewer columns are better), for instance keys = {{ {} }}, or leave the tables out with exclude; then publish the topology.",
            lines.join(", ")
        ),
    )
    .at("tables", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::StoreUrl;

    #[test]
    fn a_unique_index_is_a_key_where_none_of_its_columns_can_be_null_or_is_generated() {
        let column = |name: &str, not_null, generated| Column {
            name: name.to_owned(),
            not_null,
            primary_key: 0,
            generated,
        };
        let columns =
            [column("maybe", false, false), column("always", true, false), column("made", true, true)];
        let config = UserStoreConfig {
            url: StoreUrl::try_from("sqlite:users.sqlite".to_owned()).unwrap(),
            keys: Default::default(),
            exclude: Vec::new(),
        };
        for (indexed, partial, is_key) in [
            (&["always"][..], false, true),
            (&["always"], true, false),
            (&["maybe"], false, false),
            (&["made"], false, false),
            (&["always", "maybe"], false, false),
        ] {
            let columns_of = indexed.iter().map(|&name| (Some(name.to_owned()), "BINARY".to_owned()));
            let index = UniqueIndex {
                name: "i".to_owned(),
                primary: false,
                partial,
                columns: columns_of.collect(),
                sql: None,
            };
            let key = choose_key("t", &columns, &[index], &config).unwrap();
            assert_eq!(key.is_some(), is_key, "{indexed:?} {partial}");
        }
    }
}
