//! The triggers that write down which keys changed. The server's own SQLite, which may be old, parses and runs them.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::conflicts::Watched;
use super::schema::{Table, column_list};
use crate::store::sqlite::quote;

/// What the name of every trigger of the log begins with.
const PREFIX: &str = "csb_t";

/// Keeps everybody from removing what was not confirmed from the log, and the newest row, after which the next position
/// is given out. It is always created after all others. SQLite numbers the objects of a schema as they are created, and
/// VACUUM keeps their order: a trigger that lies after this one was dropped meanwhile and created again, as a server does
/// that rebuilds a table, and what was written in between was not seen. Without this one, nothing proves that the log is
/// whole.
const LAST: (&str, &str) = (
    "csb_t_last",
    "CREATE TRIGGER csb_t_last BEFORE DELETE ON csb_change WHEN OLD.position >= coalesce((SELECT max(position) FROM csb_barrier), 0) BEGIN SELECT RAISE(ABORT, 'these changes are not backed up yet'); END",
);

/// Milliseconds since 1970 by functions that every SQLite has.
const NOW_MS: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

/// The triggers that a database has.
pub(super) struct Installed {
    /// The SQL of each, and whether it lies there since it was created by this product.
    found: BTreeMap<String, (String, bool)>,
}

impl Installed {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare(
            "SELECT name, sql, rowid < (SELECT rowid FROM sqlite_master WHERE type = 'trigger' AND name = ?2 AND sql = ?3)
             FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1 AND name <> ?2",
        )?;
        let rows = statement.query_map([PREFIX, LAST.0, LAST.1], |row| {
            Ok((row.get(0)?, (row.get(1)?, row.get::<_, Option<bool>>(2)?.unwrap_or(false))))
        })?;
        Ok(Installed { found: rows.collect::<rusqlite::Result<_>>()? })
    }

    /// Whether these triggers are there and nothing was written without them.
    pub(super) fn has(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted
            .iter()
            .all(|(name, sql)| self.found.get(name).is_some_and(|(found, since)| *since && found == sql))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Creates a table's triggers anew.
    pub(super) fn replace(
        &mut self,
        connection: &Connection,
        wanted: &BTreeMap<String, String>,
    ) -> rusqlite::Result<()> {
        for (name, sql) in wanted {
            if self.found.remove(name).is_some() {
                drop_trigger(connection, name)?;
            }
            connection.execute_batch(sql)?;
        }
        Ok(())
    }

    /// Takes triggers that are as they should be out of what [`Installed::finish`] removes.
    pub(super) fn keep(&mut self, wanted: &BTreeMap<String, String>) {
        self.found.retain(|name, _| !wanted.contains_key(name));
    }

    /// Removes all that was neither kept nor replaced, returns their names, and marks the end.
    pub(super) fn finish(self, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let stale: Vec<String> = self.found.into_keys().collect();
        for name in &stale {
            drop_trigger(connection, name)?;
        }
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {}; {}", LAST.0, LAST.1))?;
        Ok(stale)
    }
}

fn drop_trigger(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("DROP TRIGGER {}", quote(name)))
}

/// The columns that a statement names that changes a key: those of the key and, because an integer key is the rowid, all
/// names of that. None where a column of the key is generated from others.
fn of_key(table: &Table) -> String {
    if !table.key.iter().all(|column| table.columns.contains(column)) {
        return String::new();
    }
    format!(" OF {}, rowid, _rowid_, oid", column_list(&table.key, ""))
}

/// The triggers of one table, by name.
pub(super) fn triggers(table: &Table, number: i64) -> BTreeMap<String, String> {
    let target = quote(&table.name);
    let into = format!(
        "INSERT INTO csb_change (table_number, at_ms, {})",
        (0..table.key.len()).map(|i| format!("k{i}")).collect::<Vec<_>>().join(", ")
    );
    let row = |row: &str| format!("{number}, {NOW_MS}, {}", column_list(&table.key, row));
    let values = |of: &str| format!("VALUES ({})", row(of));
    let mut all = BTreeMap::new();
    let mut add = |suffix: &str, event: &str, when: &str, body: String| {
        let name = format!("{PREFIX}{number}_{suffix}");
        all.insert(
            name.clone(),
            format!("CREATE TRIGGER {name} {event} ON {target} {when}BEGIN {body}; END"),
        );
    };
    // Keys are compared by bytes: one that a collation takes for the same is another key to the log.
    let compare = |operator: &str, row: &str, joint: &str| {
        let terms = table.key.iter().map(|column| {
            let column = quote(column);
            format!("{row}{column} {operator} OLD.{column} COLLATE BINARY")
        });
        terms.collect::<Vec<_>>().join(joint)
    };
    add("insert", "AFTER INSERT", "", format!("{into} {}", values("NEW.")));
    add("delete", "AFTER DELETE", "", format!("{into} {}", values("OLD.")));
    add("update", "AFTER UPDATE", "", format!("{into} {}", values("NEW.")));
    // A trigger of its own, which statements that name no column of the key do not even compile.
    let changed = format!("WHEN {} ", compare("IS NOT", "NEW.", " OR "));
    add("move", &format!("AFTER UPDATE{}", of_key(table)), &changed, format!("{into} {}", values("OLD.")));
    let log = |condition: &str| format!("{into} SELECT {} FROM {target} WHERE {condition}", row(""));
    if !table.conflicts.is_empty() {
        let body: Vec<String> = table.conflicts.iter().map(|conflict| log(&conflict.condition)).collect();
        add("replace_insert", "BEFORE INSERT", "", body.join("; "));
    }
    // The updated row is in its own way, and its key is logged after the update.
    let own = compare("IS", "", " AND ");
    let (mut body, mut columns, mut any) = (Vec::new(), Vec::new(), false);
    for conflict in &table.conflicts {
        let log = log(&format!("{} AND NOT ({own})", conflict.condition));
        match &conflict.watched {
            Watched::Rowid(name) => {
                add("replace_move", "BEFORE UPDATE", &format!("WHEN NEW.{name} <> OLD.{name} "), log);
                continue;
            }
            Watched::Columns(watched) => columns.extend(watched.iter().cloned()),
            Watched::Any => any = true,
        }
        body.push(log);
    }
    columns.sort();
    columns.dedup();
    if !body.is_empty() {
        let of = if any { String::new() } else { format!(" OF {}", column_list(&columns, "")) };
        add("replace_update", &format!("BEFORE UPDATE{of}"), "", body.join("; "));
    }
    all
}
