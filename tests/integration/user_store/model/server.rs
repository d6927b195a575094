//! What a server's database holds, without a database: the writes of a server on plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rusqlite::Connection;

/// Few enough that writes hit each other.
const IDS: i64 = 6;

/// The tables that a server has; `extra` are made and dropped as it is upgraded.
pub const SCHEMA: &str = "
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, note INTEGER);
CREATE TABLE pairs (a INTEGER, b INTEGER, v INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE loose (k INTEGER, v INTEGER);
";

/// One statement of a server.
#[derive(Clone, Debug)]
pub enum Write {
    /// A person, in place of whoever has the number or the name.
    Put {
        id: i64,
        name: i64,
        note: i64,
    },
    /// Another name, taken from whoever has it.
    Rename {
        id: i64,
        name: i64,
    },
    /// Another number, taken from whoever has it.
    Renumber {
        id: i64,
        to: i64,
    },
    Remove {
        id: i64,
    },
    RemoveAll,
    Pair {
        a: i64,
        b: i64,
        v: i64,
    },
    /// The second halves of all pairs of one are turned round, through each other's places.
    Turn {
        a: i64,
    },
    Unpair {
        a: i64,
        b: i64,
    },
    Add {
        k: Option<i64>,
        v: i64,
    },
    Change {
        k: Option<i64>,
        v: i64,
    },
    Move {
        k: Option<i64>,
        to: Option<i64>,
    },
    Drop {
        k: Option<i64>,
    },
}

pub fn write() -> impl Strategy<Value = Write> {
    let (id, v) = (|| 1..=IDS, || 0..100_i64);
    let k = || prop::option::weighted(0.8, 1..=IDS);
    prop_oneof![
        4 => (id(), id(), v()).prop_map(|(id, name, note)| Write::Put { id, name, note }),
        2 => (id(), id()).prop_map(|(id, name)| Write::Rename { id, name }),
        2 => (id(), id()).prop_map(|(id, to)| Write::Renumber { id, to }),
        2 => id().prop_map(|id| Write::Remove { id }),
        1 => Just(Write::RemoveAll),
        3 => (id(), id(), v()).prop_map(|(a, b, v)| Write::Pair { a, b, v }),
        1 => id().prop_map(|a| Write::Turn { a }),
        1 => (id(), id()).prop_map(|(a, b)| Write::Unpair { a, b }),
        3 => (k(), v()).prop_map(|(k, v)| Write::Add { k, v }),
        2 => (k(), v()).prop_map(|(k, v)| Write::Change { k, v }),
        1 => (k(), k()).prop_map(|(k, to)| Write::Move { k, to }),
        1 => k().prop_map(|k| Write::Drop { k }),
    ]
}

impl Write {
    pub fn sql(&self) -> String {
        let null = |k: &Option<i64>| k.map_or("NULL".to_owned(), |k| k.to_string());
        match self {
            Write::Put { id, name, note } => {
                format!("INSERT OR REPLACE INTO people (id, name, note) VALUES ({id}, 'n{name}', {note})")
            }
            Write::Rename { id, name } => {
                format!("UPDATE OR REPLACE people SET name = 'n{name}' WHERE id = {id}")
            }
            Write::Renumber { id, to } => format!("UPDATE OR REPLACE people SET id = {to} WHERE id = {id}"),
            Write::Remove { id } => format!("DELETE FROM people WHERE id = {id}"),
            Write::RemoveAll => "DELETE FROM people".to_owned(),
            Write::Pair { a, b, v } => {
                format!(
                    "INSERT INTO pairs VALUES ({a}, {b}, {v}) ON CONFLICT (a, b) DO UPDATE SET v = excluded.v"
                )
            }
            Write::Turn { a } => format!(
                "UPDATE pairs SET b = -b WHERE a = {a}; UPDATE pairs SET b = {IDS} + 1 + b WHERE a = {a}"
            ),
            Write::Unpair { a, b } => format!("DELETE FROM pairs WHERE a = {a} AND b = {b}"),
            Write::Add { k, v } => format!("INSERT INTO loose VALUES ({}, {v})", null(k)),
            Write::Change { k, v } => format!("UPDATE loose SET v = {v} WHERE k IS {}", null(k)),
            Write::Move { k, to } => format!("UPDATE loose SET k = {} WHERE k IS {}", null(to), null(k)),
            Write::Drop { k } => format!("DELETE FROM loose WHERE k IS {}", null(k)),
        }
    }
}

/// What the server's tables hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    people: BTreeMap<i64, (String, i64)>,
    pairs: BTreeMap<(i64, i64), i64>,
    loose: Vec<(Option<i64>, i64)>,
    /// Tables beyond the first three.
    pub extra: BTreeSet<u8>,
    /// Columns that were added to `people`.
    pub columns: u8,
}

impl Contents {
    pub fn apply(&mut self, write: &Write) {
        match *write {
            Write::Put { id, name, note } => {
                let name = format!("n{name}");
                self.people.retain(|_, (taken, _)| *taken != name);
                self.people.insert(id, (name, note));
            }
            Write::Rename { id, name } => {
                let name = format!("n{name}");
                if let Some((_, note)) = self.people.get(&id).cloned() {
                    self.people.retain(|_, (taken, _)| *taken != name);
                    self.people.insert(id, (name, note));
                }
            }
            Write::Renumber { id, to } => {
                if let Some(person) = self.people.remove(&id) {
                    self.people.insert(to, person);
                }
            }
            Write::Remove { id } => drop(self.people.remove(&id)),
            Write::RemoveAll => self.people.clear(),
            Write::Pair { a, b, v } => drop(self.pairs.insert((a, b), v)),
            Write::Turn { a } => {
                let turned = self.pairs.iter().filter(|((first, _), _)| *first == a);
                let turned: Vec<_> = turned.map(|((a, b), v)| ((*a, IDS + 1 - b), *v)).collect();
                self.pairs.retain(|(first, _), _| *first != a);
                self.pairs.extend(turned);
            }
            Write::Unpair { a, b } => drop(self.pairs.remove(&(a, b))),
            Write::Add { k, v } => self.loose.push((k, v)),
            Write::Change { k, v } => {
                for row in self.loose.iter_mut().filter(|row| row.0 == k) {
                    row.1 = v;
                }
            }
            Write::Move { k, to } => {
                for row in self.loose.iter_mut().filter(|row| row.0 == k) {
                    row.0 = to;
                }
            }
            Write::Drop { k } => self.loose.retain(|row| row.0 != k),
        }
        self.loose.sort();
    }

    /// What a database holds in the tables that every server here has.
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut contents = Contents::default();
        let mut people = connection.prepare_cached("SELECT id, name, note FROM people")?;
        let rows = people.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
        contents.people = rows.collect::<rusqlite::Result<_>>()?;
        let mut pairs = connection.prepare_cached("SELECT a, b, v FROM pairs")?;
        let rows = pairs.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
        contents.pairs = rows.collect::<rusqlite::Result<_>>()?;
        let mut loose = connection.prepare_cached("SELECT k, v FROM loose")?;
        let rows = loose.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        contents.loose = rows.collect::<rusqlite::Result<_>>()?;
        contents.loose.sort();
        let mut names = connection
            .prepare_cached("SELECT substr(name, 6) FROM sqlite_schema WHERE name GLOB 'extra[0-9]*'")?;
        let rows = names.query_map([], |row| row.get::<_, String>(0))?;
        contents.extra = rows.map(|name| Ok(name?.parse().unwrap())).collect::<rusqlite::Result<_>>()?;
        let mut columns = connection
            .prepare_cached("SELECT count(*) FROM pragma_table_info('people') WHERE name GLOB 'added*'")?;
        contents.columns = columns.query_row([], |row| row.get(0))?;
        Ok(contents)
    }
}
