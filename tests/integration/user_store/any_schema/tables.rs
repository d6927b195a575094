//! Tables of every shape that SQLite allows.

use super::choices::Choices;

const NAMES: [&str; 8] = ["users", "a b", "sel\"ect", "ñ 表", "😀", "Order", "it's", ""];
const COLUMNS: [&str; 10] = ["id", "name", "x y", "from", "k\"ey", "é", "rowid", "note", "Größe", "oid"];
const TYPES: [&str; 8] = ["", "INTEGER", "TEXT", "BLOB", "REAL", "NUMERIC", "VARCHAR(9)", "DATE"];
const STRICT_TYPES: [&str; 6] = ["ANY", "INTEGER", "TEXT", "BLOB", "REAL", "INT"];
const ON_CONFLICT: [&str; 6] = [
    "",
    " ON CONFLICT REPLACE",
    " ON CONFLICT IGNORE",
    " ON CONFLICT FAIL",
    " ON CONFLICT ABORT",
    " ON CONFLICT ROLLBACK",
];
const COLLATIONS: [&str; 4] = ["", " COLLATE NOCASE", " COLLATE RTRIM", " COLLATE BINARY"];
const ACTIONS: [&str; 5] = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"];

pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub struct Table {
    pub name: String,
    /// Columns that can be written.
    pub columns: Vec<String>,
    /// The column that others may refer to.
    primary: Option<String>,
    pub sql: Vec<String>,
}

/// What may stand for a value in a statement; few of them, so that they meet.
pub fn value(choices: &mut Choices) -> String {
    let common = [
        "NULL", "0", "1", "2", "3", "1.0", "'a'", "'A'", "'a '", "'b'", "''", "x''", "x'61'", "-0.0", "0.5",
        "'1'",
    ];
    let rare = [
        "9e999",
        "-9e999",
        "9e999 - 9e999",
        "9223372036854775807",
        "-9223372036854775808",
        "9007199254740993",
        "4.9e-324",
        "'a' || char(0) || 'b'",
        "CAST(x'ff00fe' AS TEXT)",
        "CAST(x'eda080' AS TEXT)",
        "CAST(x'3dd8' AS TEXT)",
        "CAST(x'00dc41d8' AS TEXT)",
        "char(0x1F600, 0x301)",
        "'ſ'",
        "'K'",
        "hex(zeroblob(700))",
        "zeroblob(900)",
        "randomblob(3)",
        "'1e3'",
        "' 1'",
        "CAST(x'd83dde00' AS TEXT)",
    ];
    if choices.one_in(3) { choices.pick(&rare).to_owned() } else { choices.pick(&common).to_owned() }
}

impl Table {
    pub fn make(choices: &mut Choices, taken: &[Table]) -> Option<Table> {
        let name = choices.pick(&NAMES).to_owned();
        if taken.iter().any(|table| table.name.eq_ignore_ascii_case(&name)) {
            return None;
        }
        let (is_strict, mut without_rowid) = (choices.one_in(4), choices.one_in(3));
        let mut columns: Vec<String> = Vec::new();
        for _ in 0..2 + choices.below(5) {
            let column = choices.pick(&COLUMNS).to_owned();
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        let kind = choices.below(6);
        without_rowid &= kind < 4;
        let is_number = kind < 2;
        let mut parts: Vec<String> = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let name = quote(column);
            let r#type = if is_strict { choices.pick(&STRICT_TYPES) } else { choices.pick(&TYPES) };
            let mut part = format!("{name} {type}");
            if at == 0 && is_number {
                part = format!("{name} INTEGER PRIMARY KEY");
                if kind == 1 && !without_rowid {
                    part += " AUTOINCREMENT";
                }
            } else {
                part += choices.pick(&COLLATIONS);
                if choices.one_in(5) {
                    part += &format!(" UNIQUE{}", choices.pick(&ON_CONFLICT));
                }
                if choices.one_in(5) {
                    part += &format!(
                        " NOT NULL{} DEFAULT {}",
                        choices.pick(&ON_CONFLICT),
                        choices.pick(&["1", "'a'", "x'61'", "2.5"])
                    );
                }
                if choices.one_in(8) {
                    part += &format!(" CHECK ({name} IS NOT 3)");
                }
                if let Some(parent) = taken.last()
                    && let Some(primary) = &parent.primary
                    && choices.one_in(4)
                {
                    part += &format!(
                        " REFERENCES {} ({}) ON DELETE {} ON UPDATE {}{}",
                        quote(&parent.name),
                        quote(primary),
                        choices.pick(&ACTIONS),
                        choices.pick(&ACTIONS),
                        choices.pick(&["", " DEFERRABLE INITIALLY DEFERRED"])
                    );
                }
            }
            parts.push(part);
        }
        let generated = ["g1", "g2"];
        for made in generated.iter().take(choices.below(3)) {
            let from = quote(&columns[choices.below(columns.len())]);
            let expression =
                choices.pick(&["typeof(?)", "? || '!'", "length(?)", "coalesce(?, 7)"]).replace('?', &from);
            let r#type = if is_strict { "ANY" } else { "" };
            parts.push(format!("{made} {type} AS ({expression}) {}", choices.pick(&["STORED", "VIRTUAL"])));
        }
        match kind {
            2 | 3 => {
                let width = (1 + choices.below(3)).min(columns.len());
                let terms: Vec<String> = columns[..width]
                    .iter()
                    .map(|column| quote(column) + choices.pick(&["", "", " DESC", " COLLATE NOCASE"]))
                    .collect();
                parts.push(format!("PRIMARY KEY ({}){}", terms.join(", "), choices.pick(&ON_CONFLICT)));
            }
            _ => {}
        }
        let mut options = Vec::new();
        if is_strict {
            options.push("STRICT");
        }
        if without_rowid {
            options.push("WITHOUT ROWID");
        }
        let mut sql =
            vec![format!("CREATE TABLE {} ({}) {}", quote(&name), parts.join(", "), options.join(", "))];
        for number in 0..choices.below(3) {
            sql.push(index(choices, &name, &columns, &format!("i{number} of {name}")));
        }
        let primary = is_number.then(|| columns[0].clone());
        Some(Table { name, columns, primary, sql })
    }

    pub fn column(&self, choices: &mut Choices) -> String {
        quote(&self.columns[choices.below(self.columns.len())])
    }
}

/// An index, unique or not, of part of the rows or all, on columns or expressions.
pub fn index(choices: &mut Choices, table: &str, columns: &[String], name: &str) -> String {
    let column = |choices: &mut Choices| quote(&columns[choices.below(columns.len())]);
    let mut terms = Vec::new();
    for _ in 0..1 + choices.below(2) {
        let column = column(choices);
        terms.push(
            choices
                .pick(&[
                    "?",
                    "? COLLATE NOCASE",
                    "lower(?)",
                    "? || 'x'",
                    "? DESC",
                    "typeof(?)",
                    "substr(?, 1, 1)",
                ])
                .replace('?', &column),
        );
    }
    let condition = match choices.below(4) {
        0 => format!(" WHERE {} IS NOT NULL", column(choices)),
        1 => format!(" WHERE {} > 1", column(choices)),
        _ => String::new(),
    };
    let unique = choices.pick(&["UNIQUE ", "UNIQUE ", ""]);
    format!("CREATE {unique}INDEX {} ON {} ({}){condition}", quote(name), quote(table), terms.join(", "))
}
