//! By what the rows of a table are told apart.

use super::schema::{Column, IndexColumn, UniqueIndex};
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
    let not_null = |wanted: &IndexColumn| {
        columns.iter().any(|column| column.name == wanted.name && column.not_null && !column.generated)
    };
    let index = unique
        .iter()
        .filter(|index| !index.partial)
        .filter_map(|index| index.columns.as_ref())
        .find(|index| index.iter().all(not_null));
    if let Some(index) = index {
        return Ok(Some(index.iter().map(|column| column.name.clone()).collect()));
    }
    let Some(named) = config.keys.get(table) else { return Ok(None) };
    match named.iter().find(|name| !columns.iter().any(|column| column.name == **name)) {
        None if named.is_empty() => Ok(None),
        None => Ok(Some(named.clone())),
        Some(unknown) => Err(Error::new(
            ErrorKind::InvalidValue,
            format!("The topology's key of table {table} names the column {unknown}, which the table does not have."),
            format!("Correct user_store.keys.{table} in the topology document and publish it again."),
        )
        .at("table", table)),
    }
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
