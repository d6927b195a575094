//! A server with a random schema that writes to it at random.

use std::path::Path;

use rusqlite::Connection;

use super::choices::Choices;
use super::tables::{Table, index, quote, value};

const OR: [&str; 6] = ["", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ABORT ", "OR ROLLBACK "];

pub struct Server {
    pub connection: Connection,
    pub choices: Choices,
    tables: Vec<Table>,
    /// What SQLite took, for whoever looks at a failure.
    log: Vec<String>,
    made: usize,
}

impl Server {
    pub fn start(path: &Path, mut choices: Choices) -> Server {
        let connection = Connection::open(path).unwrap();
        let encoding = choices.pick(&["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]);
        let mode = choices.pick(&["DELETE", "WAL"]);
        let size = choices.pick(&["4096", "512"]);
        let vacuum = choices.pick(&["0", "1", "2"]);
        let settings = format!(
            "PRAGMA encoding = '{encoding}'; PRAGMA page_size = {size}; PRAGMA auto_vacuum = {vacuum}; PRAGMA journal_mode = {mode}; PRAGMA synchronous = OFF"
        );
        connection.execute_batch(&settings).unwrap();
        let mut server = Server { connection, choices, tables: Vec::new(), log: vec![settings], made: 0 };
        for _ in 0..1 + server.choices.below(4) {
            server.make_table();
        }
        if server.tables.is_empty() {
            server.run("CREATE TABLE lonely (id INTEGER PRIMARY KEY, v)");
        }
        for _ in 0..server.choices.below(3) {
            server.make_trigger();
        }
        if server.choices.one_in(4) {
            server.run("CREATE VIRTUAL TABLE searched USING fts5 (words)");
        }
        if server.choices.one_in(6) {
            server.run("CREATE VIRTUAL TABLE boxes USING rtree (id, low, high)");
        }
        server
    }

    pub fn log(&self) -> String {
        self.log.join(";\n")
    }

    /// Writes for a while, sometimes in transactions that are undone.
    pub fn write(&mut self) {
        for _ in 0..4 + self.choices.below(20) {
            if self.choices.is_over() {
                break;
            }
            let transaction = self.choices.below(6);
            if transaction >= 4 {
                self.run("BEGIN");
            }
            for _ in 0..1 + self.choices.below(3) {
                let statement = self.statement();
                self.run(&statement);
            }
            if !self.connection.is_autocommit() {
                let end = if transaction == 4 { "COMMIT" } else { "ROLLBACK" };
                self.run(end);
            }
            if !self.connection.is_autocommit() {
                // A deferred foreign key may forbid the end.
                self.run("ROLLBACK");
            }
        }
    }

    fn run(&mut self, sql: &str) -> bool {
        let done = self.connection.execute_batch(sql);
        self.log.push(match &done {
            Ok(()) => sql.to_owned(),
            Err(error) => format!("-- {error}: {sql}"),
        });
        done.is_ok()
    }

    fn make_table(&mut self) {
        let Some(mut table) = Table::make(&mut self.choices, &self.tables) else { return };
        let statements = std::mem::take(&mut table.sql);
        let mut statements = statements.into_iter();
        if statements.next().is_some_and(|create| self.run(&create)) {
            for index in statements {
                self.run(&index);
            }
            self.tables.push(table);
        }
    }

    /// A trigger that writes to another table, or a view that can be written to.
    fn make_trigger(&mut self) {
        self.made += 1;
        let number = self.made;
        let (on, to) = (self.table_at_random(), self.table_at_random());
        let (Some(on), Some(to)) = (on, to) else { return };
        let event = self.choices.pick(&["INSERT", "UPDATE", "DELETE"]);
        let row = if event == "DELETE" { "OLD" } else { "NEW" };
        let columns = |table: &Table| table.columns.iter().map(|name| quote(name)).collect::<Vec<_>>();
        let (from, into) = (columns(&self.tables[on]), columns(&self.tables[to]));
        let (on, to) = (quote(&self.tables[on].name), quote(&self.tables[to].name));
        let first = format!("{row}.{}", from[0]);
        let body = match self.choices.below(3) {
            0 => format!(
                "INSERT OR REPLACE INTO {to} ({}) VALUES ({})",
                into.join(", "),
                vec![first.as_str(); into.len()].join(", ")
            ),
            1 => format!(
                "UPDATE OR IGNORE {to} SET {} = {first} WHERE {} IS {first}",
                into[into.len() - 1],
                into[0]
            ),
            _ => format!("DELETE FROM {to} WHERE {} IS {first}", into[0]),
        };
        if self.choices.one_in(3) {
            let view = quote(&format!("view {number}"));
            self.run(&format!("CREATE VIEW {view} AS SELECT {} FROM {on}", from.join(", ")));
            self.run(&format!(
                "CREATE TRIGGER \"instead {number}\" INSTEAD OF {event} ON {view} BEGIN {body}; END"
            ));
            self.run(&format!("INSERT INTO {view} ({}) VALUES (1)", from[0]));
        } else {
            let time = self.choices.pick(&["BEFORE", "AFTER"]);
            self.run(&format!(
                "CREATE TRIGGER \"trigger {number}\" {time} {event} ON {on} BEGIN {body}; END"
            ));
        }
    }

    fn table_at_random(&mut self) -> Option<usize> {
        (!self.tables.is_empty()).then(|| self.choices.below(self.tables.len()))
    }

    fn statement(&mut self) -> String {
        let Some(at) = self.table_at_random() else { return "INSERT INTO lonely (v) VALUES (1)".to_owned() };
        let choices = &mut self.choices;
        let table = &self.tables[at];
        let name = quote(&table.name);
        let condition = |choices: &mut Choices| {
            let column = table.column(choices);
            match choices.below(4) {
                0 => format!("{column} > {}", value(choices)),
                1 => "true".to_owned(),
                _ => format!("{column} IS {}", value(choices)),
            }
        };
        let rows = |choices: &mut Choices| {
            let row = |choices: &mut Choices| {
                let values: Vec<String> = table.columns.iter().map(|_| value(choices)).collect();
                format!("({})", values.join(", "))
            };
            let rows: Vec<String> = (0..1 + choices.below(4)).map(|_| row(choices)).collect();
            let columns: Vec<String> = table.columns.iter().map(|column| quote(column)).collect();
            format!("({}) VALUES {}", columns.join(", "), rows.join(", "))
        };
        match choices.below(40) {
            0..=15 => format!("INSERT {}INTO {name} {}", choices.pick(&OR), rows(choices)),
            16..=22 => {
                let (column, value) = (table.column(choices), value(choices));
                let value = choices.pick(&["?", "?", "coalesce(?, 1) + 1"]).replace('?', &value);
                format!(
                    "UPDATE {}{name} SET {column} = {value} WHERE {}",
                    choices.pick(&OR),
                    condition(choices)
                )
            }
            23 => {
                let (one, other) = (table.column(choices), table.column(choices));
                format!("UPDATE {}{name} SET {one} = {other}, {other} = {one}", choices.pick(&OR))
            }
            24..=27 => format!("DELETE FROM {name} WHERE {}", condition(choices)),
            28 => {
                let (column, value) = (table.column(choices), value(choices));
                format!("INSERT INTO {name} {} ON CONFLICT DO UPDATE SET {column} = {value}", rows(choices))
            }
            29 => choices.pick(&["PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"]).to_owned(),
            30 => choices
                .pick(&["PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers = OFF"])
                .to_owned(),
            31 => choices
                .pick(&["PRAGMA ignore_check_constraints = ON", "PRAGMA ignore_check_constraints = OFF"])
                .to_owned(),
            32 => choices
                .pick(&[
                    "VACUUM",
                    "REINDEX",
                    "ANALYZE",
                    "PRAGMA incremental_vacuum",
                    "PRAGMA wal_checkpoint(TRUNCATE)",
                ])
                .to_owned(),
            33 => format!("INSERT INTO searched (words) VALUES ({})", value(choices)),
            34 => choices
                .pick(&[
                    "DELETE FROM searched WHERE rowid = 1",
                    "INSERT INTO searched (searched) VALUES ('rebuild')",
                    "INSERT INTO boxes VALUES (NULL, 1, 2)",
                    "DELETE FROM boxes WHERE id > 2",
                ])
                .to_owned(),
            35 => "UPDATE sqlite_sequence SET seq = seq + 5".to_owned(),
            36 => {
                self.made += 1;
                let name = format!("later {}", self.made);
                index(choices, &table.name, &table.columns, &name)
            }
            37 => format!("SAVEPOINT s; DELETE FROM {name}; ROLLBACK TO s; RELEASE s"),
            38 => {
                self.made += 1;
                let added = format!("added {}", self.made);
                let default = choices.pick(&["", " DEFAULT 'new'", " DEFAULT 1.0 NOT NULL"]);
                let sql = format!("ALTER TABLE {name} ADD COLUMN {}{default}", quote(&added));
                if self.run(&sql) {
                    self.tables[at].columns.push(added)
                }
                "SELECT 1".to_owned()
            }
            _ => {
                self.made += 1;
                let (column, renamed) = (self.tables[at].columns.len() - 1, format!("renamed {}", self.made));
                let old = self.tables[at].columns[column].clone();
                if self.run(&format!(
                    "ALTER TABLE {name} RENAME COLUMN {} TO {}",
                    quote(&old),
                    quote(&renamed)
                )) {
                    self.tables[at].columns[column] = renamed;
                }
                "SELECT 1".to_owned()
            }
        }
    }
}
