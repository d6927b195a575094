//! Reading a damaged table: whatever lies on pages that can still be read is found, from both ends and from the middle.
//!
//! A walk in the table's order ends at the first page that is damaged, and SQLite cannot step over it. But it can seek: to
//! the end, and to any key in between. Where a seek works, rows are read in both directions from there until they meet
//! damage again. What remains are gaps between keys.

use super::datum::{Datum, Row};
use super::schema::Table;
use super::source::{Direction, Ending, Source, Span};
use super::text::Text;
use crate::error::Result;
use crate::store::user::Work;

/// How many seeks into gaps a table is worth: each takes the time of a few page reads.
const SEEKS: u32 = 2_000;

/// How many times an open end is halved towards the last key that was read before it: names and addresses begin alike.
const HALVINGS: usize = 160;

/// Rows that could not be read, as people read it. A key at which a seek failed may stand for the nearest row's.
pub(super) fn gap_name(table: &Table, gap: &Span) -> String {
    let key = |key: &Row| key.iter().map(|value| table.text.display(value)).collect::<Vec<_>>().join(", ");
    let place = match (&gap.after, &gap.before) {
        (None, None) => "some rows".to_owned(),
        (Some(after), None) => format!("rows after ({})", key(after)),
        (None, Some(before)) => format!("rows before ({})", key(before)),
        (Some(after), Some(before)) => format!("rows between ({}) and ({})", key(after), key(before)),
    };
    format!("table {}, {place}", table.name)
}

/// A table that is being read around its damage.
pub(super) struct Salvage<'a> {
    source: &'a Source<'a>,
    table: &'a Table,
    work: &'a Work<'a>,
    seeks: u32,
    take: &'a mut dyn FnMut(Vec<Row>) -> Result<()>,
}

impl<'a> Salvage<'a> {
    /// A salvage that passes rows on, in no particular order, each once.
    pub(super) fn new(
        source: &'a Source<'a>,
        table: &'a Table,
        work: &'a Work<'a>,
        take: &'a mut dyn FnMut(Vec<Row>) -> Result<()>,
    ) -> Self {
        Salvage { source, table, work, seeks: SEEKS, take }
    }

    /// Reads what can be read of a span at whose beginning a walk met damage; what cannot.
    ///
    /// # Errors
    /// Failures that are no damage, and those of whoever takes the rows.
    pub(super) fn read_around(mut self, rest: Span) -> Result<Vec<Span>> {
        if self.table.order.terms().is_empty() {
            // Nothing can be sought.
            return Ok(vec![rest]);
        }
        let whole = self.read(rest, Direction::Down)?;
        let mut parts: Vec<Part> =
            whole.into_iter().map(|span| Part { span, begins: true, hopeless: false }).collect();
        // The largest parts come first: one seek into a long readable stretch reads all of it.
        while parts.iter().any(|part| !part.hopeless) {
            let mut divided: Vec<Part> = Vec::new();
            let mut begins = false;
            for part in parts {
                let part = Part { begins: part.begins || begins, ..part };
                begins = self.divide(part, &mut divided)?;
            }
            parts = divided;
        }
        let mut gaps: Vec<Span> = Vec::new();
        for part in parts {
            match gaps.last_mut() {
                Some(last) if !part.begins => last.before = part.span.before,
                _ => gaps.push(part.span),
            }
        }
        Ok(gaps)
    }

    /// Reads on from one end of a gap until there is damage; what is left of the gap.
    ///
    /// # Errors
    /// As for [`Salvage::read_around`].
    pub(super) fn read(&mut self, mut gap: Span, direction: Direction) -> Result<Option<Span>> {
        loop {
            self.work.check()?;
            let stretch = self.source.stretch(self.table, &gap, direction, self.work)?;
            if stretch.last.is_some() {
                match direction {
                    Direction::Up => (gap.after, gap.inclusive) = (stretch.last, false),
                    Direction::Down => gap.before = stretch.last,
                }
            }
            (self.take)(stretch.rows)?;
            match stretch.ending {
                Ending::Full => {}
                Ending::Complete => return Ok(None),
                Ending::Damaged => return Ok(Some(gap)),
            }
        }
    }

    /// Seeks into a part. Where that finds rows, all around them are read and the part becomes what lies before and behind
    /// them; where it does not, two halves. Whether the last that is known of the part is a row that was read.
    fn divide(&mut self, part: Part, into: &mut Vec<Part>) -> Result<bool> {
        let gap = &part.span;
        let halves = gap.after.is_some() && gap.before.is_some();
        // Between the digits of UTF-16 lie bytes that are no digits.
        let is_unsought = self.table.text != Text::Utf8 && is_between_texts(gap);
        let is_hopeless = part.hopeless || is_unsought;
        let targets = if is_hopeless { Vec::new() } else { targets(gap) };
        for target in targets {
            if self.seeks == 0 {
                break;
            }
            self.work.check()?;
            self.seeks -= 1;
            let above = Span { after: Some(target.clone()), inclusive: true, before: gap.before.clone() };
            let found = self.source.stretch(self.table, &above, Direction::Up, self.work)?;
            let below = |before| Part { span: Span { before, ..gap.clone() }, ..part.clone() };
            if let Some(first) = found.first {
                (self.take)(found.rows)?;
                let left = self.read(below(Some(first)).span, Direction::Down)?;
                into.extend(left.map(|span| Part { span, ..part.clone() }));
                let rest = Span { after: found.last, inclusive: false, before: gap.before.clone() };
                let left = match found.ending {
                    Ending::Full => self.read(rest, Direction::Up)?,
                    Ending::Complete => None,
                    Ending::Damaged => Some(rest),
                };
                let reached_the_end = left.is_none();
                into.extend(left.map(|span| Part { span, begins: true, hopeless: false }));
                return Ok(reached_the_end);
            }
            if halves {
                into.push(below(Some(target)));
                // Else nothing lies above the target.
                if found.ending == Ending::Damaged {
                    into.push(Part { span: above, begins: false, hopeless: false });
                }
                return Ok(false);
            }
        }
        into.push(Part { hopeless: true, ..part });
        Ok(false)
    }
}

/// A part of a table that was not read yet.
#[derive(Clone, Debug)]
struct Part {
    span: Span,
    /// Whether a row that was read lies before it; else it goes on with the gap before it.
    begins: bool,
    /// Whether no seek divides it any more.
    hopeless: bool,
}

/// Whether a text is part of a key at an end of a gap.
fn is_between_texts(gap: &Span) -> bool {
    let keys = gap.after.iter().chain(&gap.before);
    keys.flatten().any(|value| matches!(value, Datum::Text(_)))
}

/// Keys to seek in a gap: its middle, or from its one known end by growing steps.
fn targets(gap: &Span) -> Vec<Row> {
    match (&gap.after, &gap.before) {
        (Some(after), Some(before)) => middle(after, before).into_iter().collect(),
        (Some(after), None) => steps(after, 1),
        (None, Some(before)) => steps(before, -1),
        (None, None) => [1, -1].iter().flat_map(|way| steps(&vec![Datum::Integer(0)], *way)).collect(),
    }
}

/// A key between two keys, in their first column that differs; in the next one where that column's values are neighbours.
fn middle(after: &Row, before: &Row) -> Option<Row> {
    let at = after.iter().zip(before).position(|(a, b)| a != b)?;
    let with = |at: usize, value: Datum| {
        let mut key = after.clone();
        *key.get_mut(at)? = value;
        Some(key)
    };
    if let Some(value) = between(after.get(at)?, before.get(at)?) {
        return with(at, value);
    }
    let next = after.get(at + 1)?;
    with(at + 1, between(next, &end_of(next, 1)?)?)
}

/// Keys further and further away from one, in its first column.
fn steps(from: &Row, way: i64) -> Vec<Row> {
    let Some(first) = from.first() else { return Vec::new() };
    let values: Vec<Datum> = match first {
        Datum::Integer(number) => {
            (0..63).filter_map(|power| number.checked_add(way * (1 << power))).map(Datum::Integer).collect()
        }
        other => {
            let halve = |value: &Datum| if way > 0 { between(other, value) } else { between(value, other) };
            let end = end_of(other, way);
            let mut values: Vec<Datum> =
                std::iter::successors(end.as_ref().and_then(halve), halve).take(HALVINGS).collect();
            values.reverse();
            values
        }
    };
    let key = |value| std::iter::once(value).chain(from.iter().skip(1).cloned()).collect();
    values.into_iter().map(key).collect()
}

/// A value beyond all values of a type, or before them, for practical purposes.
fn end_of(value: &Datum, way: i64) -> Option<Datum> {
    let bytes = if way > 0 { vec![0xff; 8] } else { Vec::new() };
    Some(match value {
        Datum::Null => return None,
        Datum::Integer(_) => Datum::Integer(if way > 0 { i64::MAX } else { i64::MIN }),
        Datum::Real(_) => Datum::Real(if way > 0 { f64::MAX } else { f64::MIN }),
        Datum::Text(_) => Datum::Text(bytes),
        Datum::Blob(_) => Datum::Blob(bytes),
    })
}

/// A value in the middle of two of the same type; none where there is none, or they are not in this order.
fn between(low: &Datum, high: &Datum) -> Option<Datum> {
    match (low, high) {
        (Datum::Integer(low), Datum::Integer(high)) => {
            let middle = i64::try_from((i128::from(*low) + i128::from(*high)).div_euclid(2)).ok()?;
            (*low < middle).then_some(Datum::Integer(middle))
        }
        (Datum::Real(low), Datum::Real(high)) => {
            let middle = low / 2.0 + high / 2.0;
            (*low < middle && middle < *high).then_some(Datum::Real(middle))
        }
        (Datum::Text(low), Datum::Text(high)) => bytes_between(low, high).map(Datum::Text),
        (Datum::Blob(low), Datum::Blob(high)) => bytes_between(low, high).map(Datum::Blob),
        _ => None,
    }
}

fn bytes_between(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let same = low.iter().zip(high).take_while(|(a, b)| a == b).count();
    let number = |bytes: &[u8]| {
        let mut head = [0; 8];
        head.iter_mut().zip(bytes.iter().skip(same)).for_each(|(to, from)| *to = *from);
        u64::from_be_bytes(head)
    };
    let (from, to) = (number(low), number(high));
    let middle = from + to.checked_sub(from)? / 2;
    let mut bytes: Vec<u8> = low.iter().take(same).copied().chain(middle.to_be_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    (from < middle).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Datum {
        Datum::Text(value.as_bytes().to_vec())
    }

    #[test]
    fn the_middle_of_two_values_lies_between_them_or_is_none() {
        let integer = Datum::Integer;
        assert_eq!(between(&integer(i64::MIN), &integer(i64::MAX)), Some(integer(-1)));
        assert_eq!(between(&integer(4), &integer(5)), None);
        let Some(Datum::Text(middle)) = between(&text("anna"), &text("bert")) else { panic!() };
        assert!(middle.as_slice() > b"anna".as_slice() && middle.as_slice() < b"bert".as_slice());
        assert_eq!(between(&text("b"), &text("a")), None);
        assert_eq!(between(&text("a"), &Datum::Null), None);
        assert_eq!(between(&Datum::Real(1.0), &Datum::Real(2.0)), Some(Datum::Real(1.5)));
    }

    #[test]
    fn neighbours_have_no_middle() {
        let real = |steps: u64| Datum::Real(f64::from_bits(1.0_f64.to_bits() + steps));
        // The sum of halves is rounded to one of both: down here and up there.
        assert_eq!((between(&real(0), &real(1)), between(&real(1), &real(2))), (None, None));
        assert_eq!(between(&text("a"), &text("a")), None);
        assert_eq!(between(&text("a"), &text("a\0")), None);
        assert_eq!(between(&Datum::Integer(5), &Datum::Integer(4)), None);
        let blob = |byte| Datum::Blob(vec![7, byte]);
        assert_eq!(between(&blob(2), &blob(6)), Some(blob(4)));
        assert_eq!(between(&blob(6), &text("z")), None);
    }

    #[test]
    fn a_gap_is_sought_from_the_end_that_is_known() {
        let known = |number| Some(vec![Datum::Integer(number)]);
        let sought = |gap: Span| targets(&gap).into_iter().flatten().collect::<Vec<_>>();
        let below = sought(Span { before: known(10), ..Span::default() });
        assert_eq!(below[..3], [9, 8, 6].map(Datum::Integer));
        let real = Datum::Real;
        let ends = [(real(0.0), 1, real(f64::MAX)), (real(0.0), -1, real(f64::MIN))];
        for (value, way, end) in ends {
            assert_eq!(end_of(&value, way), Some(end));
        }
        let integer = Datum::Integer;
        assert_eq!(
            (end_of(&integer(0), 1), end_of(&integer(0), -1)),
            (Some(integer(i64::MAX)), Some(integer(i64::MIN)))
        );
    }

    #[test]
    fn composite_keys_are_divided_where_they_differ_and_behind_neighbours() {
        let key = |number, name: &str| vec![Datum::Integer(number), text(name)];
        assert_eq!(middle(&key(1, "a"), &key(9, "b")), Some(key(5, "a")));
        let behind = middle(&key(1, "a"), &key(2, "b")).unwrap();
        assert_eq!(behind[0], Datum::Integer(1));
        assert!(matches!(&behind[1], Datum::Text(name) if name.as_slice() > b"a".as_slice()));
    }

    #[test]
    fn steps_grow_away_from_the_known_end() {
        let steps_up = steps(&vec![Datum::Integer(10)], 1);
        assert_eq!(steps_up[..3], [[Datum::Integer(11)], [Datum::Integer(12)], [Datum::Integer(14)]]);
        let names = steps(&vec![text("m")], 1);
        assert!(
            names.len() > 10
                && names
                    .iter()
                    .all(|name| matches!(&name[0], Datum::Text(t) if t.as_slice() > b"m".as_slice()))
        );
    }

    #[test]
    fn where_no_row_was_read_numbers_on_both_sides_of_zero_are_sought() {
        let sought: Vec<Datum> = targets(&Span::default()).into_iter().flatten().collect();
        assert!(sought.contains(&Datum::Integer(8)) && sought.contains(&Datum::Integer(-8)));
    }
}
