//! In what ways a row can be in the way of another: `INSERT OR REPLACE`, and `ON CONFLICT REPLACE` in a constraint,
//! delete it without firing a delete trigger.

use super::index_sql::{Expression, IndexSql};
use super::schema::{Column, UniqueIndex, column_list};
use crate::store::sqlite::quote;

/// One way in which a row may be in the way of a new one, other than by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Holds, inside a trigger, for rows of the table that `NEW` would replace.
    pub(super) condition: String,
    pub(super) watched: Watched,
}

/// By what updates a conflict can come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Those that set one of these columns.
    Columns(Vec<String>),
    /// Any.
    Any,
    /// Those that move a row to another rowid, under this name.
    Rowid(&'static str),
}

/// What [`conflicts`] looks at.
pub(super) struct Shape<'a> {
    pub(super) table: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) unique: &'a [UniqueIndex],
    pub(super) key: &'a [String],
    /// The name of a rowid that is not the key.
    pub(super) rowid: Option<&'static str>,
}

/// All conflicts of a table, and the indexes that cannot be watched.
pub(super) fn conflicts(shape: &Shape<'_>) -> (Vec<Conflict>, Vec<String>) {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for index in shape.unique.iter().filter(|index| !covers(index, shape.key)) {
        match conflict(shape, index) {
            Some(conflict) => found.push(conflict),
            None => unknown.push(index.name.clone()),
        }
    }
    found.extend(
        shape.rowid.map(|name| Conflict {
            condition: format!("{name} = NEW.{name}"),
            watched: Watched::Rowid(name),
        }),
    );
    (found, unknown)
}

/// Whether rows that are equal in this index have the same key, byte by byte: the key is logged anyway.
fn covers(index: &UniqueIndex, key: &[String]) -> bool {
    let compares = |name: &String| {
        let same = |column: &&(Option<String>, String)| column.0.as_ref() == Some(name);
        index.columns.iter().find(same).is_some_and(|(_, collation)| collation.eq_ignore_ascii_case("BINARY"))
    };
    key.iter().all(compares)
}

fn conflict(shape: &Shape<'_>, index: &UniqueIndex) -> Option<Conflict> {
    let names: Vec<String> = shape.columns.iter().map(|column| column.name.clone()).collect();
    let parsed = index.sql.as_deref().and_then(IndexSql::parse);
    let (mut terms, mut watched, mut any) = (Vec::new(), Vec::new(), false);
    for (number, (name, collation)) in index.columns.iter().enumerate() {
        let collation = quote(collation);
        terms.push(if let Some(name) = name {
            any |= shape.columns.iter().any(|column| column.generated && column.name == *name);
            watched.push(name.clone());
            format!("{0} = NEW.{0} COLLATE {collation}", quote(name))
        } else {
            let term = parsed.as_ref()?.term(number, &names)?;
            any = true;
            format!("({}) = ({}) COLLATE {collation}", term.sql, of_new_row(shape.table, &term))
        });
    }
    if index.partial {
        // Without it SQLite could not use the index, and would read the whole table for every row.
        any = true;
        terms.push(format!("({})", parsed.as_ref()?.condition(&names)?.sql));
    }
    let watched = if any { Watched::Any } else { Watched::Columns(watched) };
    Some(Conflict { condition: terms.join(" AND "), watched })
}

/// An expression's value for the new row. Its text is left as it is, and names in it mean the nearest columns of that
/// name; the empty half of the compound gives them the affinities and collations of the table's own.
fn of_new_row(table: &str, term: &Expression) -> String {
    if term.columns.is_empty() {
        return format!("SELECT {}", term.sql);
    }
    format!(
        "SELECT {} FROM (SELECT {} FROM {} WHERE 0 UNION ALL SELECT {})",
        term.sql,
        column_list(&term.columns, ""),
        quote(table),
        column_list(&term.columns, "NEW.")
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::with_source;
    use super::*;

    #[test]
    fn an_index_is_watched_by_its_columns_unless_one_of_them_is_generated_or_it_is_partial() {
        let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, g AS (b + 1), h AS (b + 2), UNIQUE (a), UNIQUE (g));
            CREATE UNIQUE INDEX part ON t (b) WHERE a > 0; CREATE UNIQUE INDEX with_key ON t (id, b)";
        with_source(schema, |source, _| {
            let mut watched: Vec<(Watched, &str)> = source.capture.schema.tables[0]
                .conflicts
                .iter()
                .map(|conflict| (conflict.watched.clone(), conflict.condition.as_str()))
                .collect();
            watched.sort_by_key(|(_, condition)| *condition);
            let conditions: Vec<&str> = watched.iter().map(|(_, condition)| *condition).collect();
            assert_eq!(
                conditions,
                [
                    r#""a" = NEW."a" COLLATE "BINARY""#,
                    r#""b" = NEW."b" COLLATE "BINARY" AND (a > 0)"#,
                    r#""g" = NEW."g" COLLATE "BINARY""#,
                ]
            );
            let watched: Vec<Watched> = watched.into_iter().map(|(watched, _)| watched).collect();
            assert_eq!(watched, [Watched::Columns(vec!["a".to_owned()]), Watched::Any, Watched::Any]);
        });
    }
}
