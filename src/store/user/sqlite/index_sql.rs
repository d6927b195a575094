//! The expressions of an index, out of its CREATE INDEX: SQLite tells everything else about an index, but not these.

use crate::store::sqlite::quote;

/// The text of a CREATE INDEX, taken apart.
#[derive(Debug)]
pub(super) struct IndexSql {
    /// The statement without its comments.
    text: String,
    /// A term for each column of the index, without COLLATE and direction.
    terms: Vec<Vec<Token>>,
    /// The condition of a partial index.
    condition: Option<Vec<Token>>,
}

/// An expression that can stand in another statement.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) sql: String,
    /// Columns of the table that are named in it, as the table names them.
    pub(super) columns: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A bare name, a keyword or a number.
    Word,
    /// A name in quotes that end with this character.
    Quoted(char),
    /// A string in single quotes.
    Text,
    Symbol(char),
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

impl IndexSql {
    /// Takes a statement apart; none where it is not a CREATE INDEX that SQLite would accept.
    pub(super) fn parse(sql: &str) -> Option<Self> {
        let text = without_comments(sql)?;
        let tokens = tokens(&text)?;
        let open = tokens.iter().position(|token| token.kind == Kind::Symbol('('))?;
        let (mut terms, mut term, mut depth) = (Vec::new(), Vec::new(), 1);
        let mut rest = tokens.into_iter().skip(open + 1);
        for token in rest.by_ref() {
            match token.kind {
                Kind::Symbol('(') => depth += 1,
                Kind::Symbol(')') => depth -= 1,
                _ => {}
            }
            let ends = depth == 0;
            if ends || (depth == 1 && token.kind == Kind::Symbol(',')) {
                terms.push(bare_term(&text, std::mem::take(&mut term))?);
            } else {
                term.push(token);
            }
            if ends {
                break;
            }
        }
        let mut rest = rest.filter(|token| token.kind != Kind::Symbol(';'));
        let condition = match rest.next() {
            Some(word) if is_word(&text, &word, "WHERE") => Some(rest.collect()),
            Some(_) => return None,
            None => None,
        };
        (depth == 0).then_some(IndexSql { text, terms, condition })
    }

    /// The expression that the index's column of this number, from 0, is made of.
    pub(super) fn term(&self, number: usize, columns: &[String]) -> Option<Expression> {
        self.expression(self.terms.get(number)?, columns)
    }

    /// The condition of a partial index.
    pub(super) fn condition(&self, columns: &[String]) -> Option<Expression> {
        self.expression(self.condition.as_ref()?, columns)
    }

    /// SQLite takes a name in double quotes that is no column for a string, but may not where this text is going to be.
    fn expression(&self, tokens: &[Token], columns: &[String]) -> Option<Expression> {
        let mut found = Expression { sql: String::new(), columns: Vec::new() };
        let mut end = tokens.first()?.start;
        for token in tokens {
            found.sql.push_str(self.text.get(end..token.start)?);
            end = token.end;
            let raw = self.text.get(token.start..token.end)?;
            let name = match token.kind {
                Kind::Word => raw.to_owned(),
                Kind::Quoted(close) => unquoted(raw, close)?,
                Kind::Text | Kind::Symbol(_) => {
                    found.sql.push_str(raw);
                    continue;
                }
            };
            match columns.iter().find(|column| column.eq_ignore_ascii_case(&name)) {
                Some(column) if token.kind != Kind::Word => {
                    found.sql.push_str(&quote(column));
                    found.columns.push(column.clone());
                }
                Some(column) => {
                    found.sql.push_str(raw);
                    found.columns.push(column.clone());
                }
                None if token.kind == Kind::Quoted('"') => {
                    found.sql.push_str(&format!("'{}'", name.replace('\'', "''")));
                }
                None => found.sql.push_str(raw),
            }
        }
        found.columns.sort();
        found.columns.dedup();
        Some(found)
    }
}

/// A term without direction and collation at its end.
fn bare_term(text: &str, mut term: Vec<Token>) -> Option<Vec<Token>> {
    if term.last().is_some_and(|last| is_word(text, last, "ASC") || is_word(text, last, "DESC")) {
        term.pop();
    }
    if let [.., word, _] = term.as_slice()
        && is_word(text, word, "COLLATE")
    {
        term.truncate(term.len() - 2);
    }
    (!term.is_empty()).then_some(term)
}

fn is_word(text: &str, token: &Token, word: &str) -> bool {
    token.kind == Kind::Word
        && text.get(token.start..token.end).is_some_and(|found| found.eq_ignore_ascii_case(word))
}

/// A name without its quotes, in which a closing quote may be doubled.
fn unquoted(raw: &str, close: char) -> Option<String> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    Some(if close == ']' {
        inner.to_owned()
    } else {
        inner.replace(&format!("{close}{close}"), &close.to_string())
    })
}

/// What closes something that this character opens.
fn closing(open: char) -> Option<char> {
    match open {
        '\'' | '"' | '`' => Some(open),
        '[' => Some(']'),
        _ => None,
    }
}

/// The length of what begins in quotes, its quotes included; none where it does not end.
fn quoted_length(text: &str, close: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != close {
            continue;
        }
        if close == ']' || characters.peek().is_none_or(|(_, next)| *next != close) {
            return Some(at + c.len_utf8());
        }
        characters.next();
    }
    None
}

/// The text with a space in the place of each comment: what is put into one line must not hide the rest of it.
fn without_comments(sql: &str) -> Option<String> {
    let (mut text, mut rest) = (String::with_capacity(sql.len()), sql);
    while let Some(first) = rest.chars().next() {
        let length = if let Some(close) = closing(first) {
            quoted_length(rest, close)?
        } else if rest.starts_with("--") {
            text.push(' ');
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            text.push(' ');
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
            continue;
        } else {
            first.len_utf8()
        };
        let (piece, after) = rest.split_at_checked(length)?;
        text.push_str(piece);
        rest = after;
    }
    Some(text)
}

/// The tokens of a text without comments.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let (mut tokens, mut start) = (Vec::new(), 0);
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next()?;
        let (kind, length) = if let Some(close) = closing(first) {
            let kind = if close == '\'' { Kind::Text } else { Kind::Quoted(close) };
            (Some(kind), quoted_length(rest, close)?)
        } else if in_word(first) {
            (Some(Kind::Word), rest.find(|c| !in_word(c)).unwrap_or(rest.len()))
        } else {
            ((!first.is_ascii_whitespace()).then_some(Kind::Symbol(first)), first.len_utf8())
        };
        tokens.extend(kind.map(|kind| Token { kind, start, end: start + length }));
        start += length;
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    fn columns() -> Vec<String> {
        ["a", "Bé", "two words", "q\"x", "where"].map(str::to_owned).to_vec()
    }

    fn terms(sql: &str) -> Vec<String> {
        let index = IndexSql::parse(sql).unwrap();
        (0..index.terms.len()).map(|i| index.term(i, &columns()).unwrap().sql).collect()
    }

    fn condition(sql: &str) -> Option<String> {
        Some(IndexSql::parse(sql)?.condition(&columns())?.sql)
    }

    #[test]
    fn terms_lose_collation_and_direction_and_nothing_else() {
        assert_eq!(
            terms(
                "CREATE UNIQUE INDEX i ON t(a, lower(a) COLLATE \"NOCASE\" DESC, a||',)' asc, (a COLLATE nocase))"
            ),
            ["a", "lower(a)", "a||',)'", "(a COLLATE nocase)"]
        );
    }

    #[test]
    fn quotes_brackets_and_comments_hide_what_is_in_them() {
        assert_eq!(
            terms(
                "CREATE UNIQUE INDEX \"(i\" ON [t(](substr([two words], 1, 2) -- a, b)\n, 'it''s' /* ) */ || `q\"x`, x'0aff')"
            ),
            ["substr(\"two words\", 1, 2)", "'it''s'   || \"q\"\"x\"", "x'0aff'"]
        );
    }

    #[test]
    fn a_condition_is_all_that_follows_where() {
        assert_eq!(condition("CREATE UNIQUE INDEX i ON t(a)"), None);
        assert_eq!(
            condition("CREATE UNIQUE INDEX i ON t(a) where a > 0 AND \"where\" IN (1, 2) -- end").unwrap(),
            "a > 0 AND \"where\" IN (1, 2)"
        );
    }

    #[test]
    fn a_quoted_name_that_is_no_column_is_the_string_that_sqlite_takes_it_for() {
        let index = IndexSql::parse("CREATE UNIQUE INDEX i ON t(A) WHERE a <> \"it's\"").unwrap();
        assert_eq!(
            index.condition(&columns()).unwrap(),
            Expression { sql: "a <> 'it''s'".to_owned(), columns: vec!["a".to_owned()] }
        );
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for sql in [
            "",
            "CREATE INDEX",
            "CREATE INDEX i ON t(a",
            "CREATE INDEX i ON t(')",
            "CREATE INDEX i ON t()",
            "x(a) y",
        ] {
            assert!(IndexSql::parse(sql).is_none(), "{sql}");
        }
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("a".to_owned()),
            Just("\"two words\"".to_owned()),
            Just("[q\"x]".to_owned()),
            Just("Bé".to_owned()),
            Just("`where`".to_owned()),
            Just("x'00'".to_owned()),
            Just("1.5e+3".to_owned()),
            "'[a-z(),;\"\\[\\]/*-]{0,6}'",
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(a, b)| format!("coalesce({a}/* , ) */,{b} -- ' ( \n)")),
                inner.clone().prop_map(|a| format!("CAST({a} AS text)")),
                inner.prop_map(|a| format!("lower({a}) COLLATE nocase")),
            ]
        })
    }

    proptest! {
        /// Both texts of an index, the server's and the one made of its parts, are the same index to SQLite.
        #[test]
        fn an_index_made_of_the_parts_is_the_same_index(
            expressions in prop::collection::vec(expression(), 1..4),
            partial in prop::option::of(expression()),
            suffix in prop_oneof![Just(""), Just(" DESC"), Just(" COLLATE rtrim"), Just(" collate [binary] asc")],
        ) {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE TABLE t (a, Bé, \"two words\", \"q\"\"x\", \"where\"); CREATE TABLE empty (x)").unwrap();
            connection.execute("INSERT INTO t VALUES ('A b', 2, x'41', NULL, 'z')", []).unwrap();
            let terms: Vec<String> = expressions.iter().map(|e| format!("{e}{suffix}")).collect();
            let filter = partial.map(|e| format!(" WHERE a IS NOT ({e})")).unwrap_or_default();
            let sql = format!("CREATE UNIQUE INDEX i ON t({}){filter}", terms.join(", "));
            prop_assume!(connection.execute_batch(&sql).is_ok());
            let index = IndexSql::parse(&sql).unwrap();
            prop_assert_eq!(index.terms.len(), expressions.len());
            prop_assert_eq!(index.condition.is_some(), !filter.is_empty());
            for (i, original) in expressions.iter().enumerate() {
                let part = index.term(i, &columns()).unwrap().sql;
                let same: bool = connection
                    .query_row(&format!("SELECT ({original}) IS ({part}) COLLATE binary FROM t"), [], |row| row.get(0))
                    .unwrap();
                prop_assert!(same, "{} became {}", original, part);
            }
            if let Some(condition) = index.condition(&columns()) {
                let plan: String = connection
                    .query_row(
                        &format!("EXPLAIN QUERY PLAN SELECT 1 FROM t INDEXED BY i WHERE {}", condition.sql),
                        [],
                        |row| row.get(3),
                    )
                    .unwrap();
                prop_assert!(plan.contains("INDEX i"), "{}", plan);
            }
        }

        #[test]
        fn no_text_is_too_odd(sql in "[a-z(),'\"`\\[\\]/*\\-é ]{0,40}") {
            let _ = IndexSql::parse(&sql);
        }
    }

    #[test]
    fn a_quote_that_is_doubled_does_not_end_a_name_but_a_bracket_does() {
        assert_eq!(quoted_length(r#""a""b" rest"#, '"'), Some(6));
        assert_eq!(quoted_length("[a]] rest", ']'), Some(3));
        assert_eq!(unquoted(r#""a""b""#, '"').unwrap(), r#"a"b"#);
        assert_eq!(unquoted("[a\"\"b]", ']').unwrap(), "a\"\"b");
    }
}
