//! How text passes between SQLite and this product.
//!
//! SQLite hands text out as UTF-8. Of a database in UTF-16 that is a conversion, which halves of surrogate pairs do not
//! survive, and nothing keeps a server from writing these. So there text is read and written as the hexadecimal digits of
//! its bytes; everything in between only needs that equal text looks equal.

use rusqlite::Connection;

use super::datum::Datum;

/// In what a database keeps text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Text {
    #[default]
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Text {
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let encoding: String = connection.pragma_query_value(None, "encoding", |row| row.get(0))?;
        Ok(match encoding.as_str() {
            "UTF-16le" => Text::Utf16Le,
            "UTF-16be" => Text::Utf16Be,
            _ => Text::Utf8,
        })
    }

    /// SQL that reads a term.
    pub(super) fn read(self, term: &str) -> String {
        match self {
            Text::Utf8 => term.to_owned(),
            Text::Utf16Le | Text::Utf16Be => {
                format!("CASE typeof({term}) WHEN 'text' THEN hex(CAST({term} AS BLOB)) ELSE {term} END")
            }
        }
    }

    /// SQL that reads some terms, separated by commas.
    pub(super) fn read_all(self, terms: impl Iterator<Item = String>) -> String {
        terms.map(|term| self.read(&term)).collect::<Vec<_>>().join(", ")
    }

    /// SQL that stands for the value of a parameter.
    pub(super) fn parameter(self, number: usize) -> String {
        match self {
            Text::Utf8 => format!("?{number}"),
            Text::Utf16Le | Text::Utf16Be => {
                format!(
                    "CASE typeof(?{number}) WHEN 'text' THEN CAST(unhex(?{number}) AS TEXT) ELSE ?{number} END"
                )
            }
        }
    }

    /// SQL for some parameters from this number on, separated by commas.
    pub(super) fn parameters(self, first: usize, count: usize) -> String {
        (first..first + count).map(|number| self.parameter(number)).collect::<Vec<_>>().join(", ")
    }

    /// A value as people see it in reports, shortened.
    pub(super) fn display(self, value: &Datum) -> String {
        let unit = match self {
            Text::Utf8 => return value.display(),
            Text::Utf16Le => u16::from_le_bytes,
            Text::Utf16Be => u16::from_be_bytes,
        };
        let Datum::Text(digits) = value else { return value.display() };
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        let (pairs, _) = digits.as_chunks::<4>();
        let units: Vec<u16> = pairs
            .iter()
            .map(|[a, b, c, d]| unit([digit(*a) * 16 + digit(*b), digit(*c) * 16 + digit(*d)]))
            .collect();
        Datum::Text(String::from_utf16_lossy(&units).into_bytes()).display()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_encoding_survives_a_round_trip_and_is_shown_as_text() {
        for (encoding, known) in
            [("UTF-8", Text::Utf8), ("UTF-16le", Text::Utf16Le), ("UTF-16be", Text::Utf16Be)]
        {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(&format!("PRAGMA encoding = '{encoding}'; CREATE TABLE t (v)")).unwrap();
            let text = Text::of(&connection).unwrap();
            assert_eq!(text, known);
            connection
                .execute_batch("INSERT INTO t VALUES (NULL), (7), (0.5), (x'61'), ('ä😀'), (''), ('a' || char(0)), (CAST(x'3dd8' AS TEXT))")
                .unwrap();
            let values: Vec<Datum> = connection
                .prepare(&format!("SELECT {} FROM t ORDER BY rowid", text.read("v")))
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            assert_eq!(text.display(&values[4]), "ä😀");
            for (at, value) in values.iter().enumerate() {
                let sql = format!(
                    "SELECT v IS {0} AND typeof(v) = typeof({0}) FROM t WHERE rowid = {1}",
                    text.parameter(1),
                    at + 1
                );
                let same: bool = connection.query_row(&sql, [value], |row| row.get(0)).unwrap();
                assert!(same, "{encoding} {value:?}");
            }
        }
    }
}
