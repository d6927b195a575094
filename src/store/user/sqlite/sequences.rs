//! The numbers that AUTOINCREMENT has given out: without them a server that goes on with the standby copy would give an
//! id out again whose row was deleted.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use super::capture::has_table;
use super::datum::Row;
use super::schema::SchemaObject;
use super::source::is_damage;

/// `sqlite_sequence` as far as it concerns some tables; none where it is damaged.
pub(super) type Sequences = Option<Vec<Row>>;

/// The numbers of the server's tables. Where they are damaged the server can give out none either, and the rest goes on.
pub(super) fn read(connection: &Connection, objects: &[SchemaObject]) -> rusqlite::Result<Sequences> {
    match read_all(connection, objects) {
        Err(cause) if is_damage(&cause) => Ok(None),
        read => read.map(Some),
    }
}

fn read_all(connection: &Connection, objects: &[SchemaObject]) -> rusqlite::Result<Vec<Row>> {
    if !has_table(connection, "sqlite_sequence")? {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare_cached("SELECT name, seq FROM sqlite_sequence ORDER BY name, seq")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let ValueRef::Text(name) = row.get_ref(0)? else { continue };
        if objects.iter().any(|object| object.kind == "table" && object.name.as_bytes() == name) {
            found.push(vec![row.get(0)?, row.get(1)?]);
        }
    }
    Ok(found)
}

/// Whether the numbers of a copy are these. A copy whose tables count nothing keeps no numbers.
pub(super) fn are(
    connection: &Connection,
    objects: &[SchemaObject],
    wanted: &[Row],
) -> rusqlite::Result<bool> {
    Ok(read_all(connection, objects)? == wanted || !has_table(connection, "sqlite_sequence")?)
}

/// Makes the numbers of a copy these.
pub(super) fn write(
    connection: &Connection,
    objects: &[SchemaObject],
    wanted: &[Row],
) -> rusqlite::Result<()> {
    if are(connection, objects, wanted)? {
        return Ok(());
    }
    connection.execute("DELETE FROM sqlite_sequence WHERE substr(name, 1, 4) <> 'csb_'", [])?;
    let mut statement = connection.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)")?;
    for row in wanted {
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::datum::Datum;
    use super::super::schema;
    use super::*;

    /// A database with two tables that count, one of which is the server's.
    fn counting() -> (Connection, Vec<SchemaObject>) {
        let connection = Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE theirs (id INTEGER PRIMARY KEY AUTOINCREMENT);
                      CREATE TABLE csb_ours (id INTEGER PRIMARY KEY AUTOINCREMENT);
                      INSERT INTO theirs VALUES (7); INSERT INTO csb_ours VALUES (9);";
        connection.execute_batch(tables).unwrap();
        let server = schema::objects(&connection).unwrap();
        (connection, server.into_iter().filter(|object| object.name == "theirs").collect())
    }

    #[test]
    fn the_numbers_of_other_tables_are_left_out() {
        let (connection, objects) = counting();
        let wanted = vec![vec![Datum::Text("theirs".into()), Datum::Integer(7)]];
        assert_eq!(read(&connection, &objects).unwrap(), Some(wanted.clone()));
        assert!(are(&connection, &objects, &wanted).unwrap());
        connection.execute_batch("UPDATE sqlite_sequence SET seq = seq + 1").unwrap();
        assert!(!are(&connection, &objects, &wanted).unwrap());
        write(&connection, &objects, &wanted).unwrap();
        assert!(are(&connection, &objects, &wanted).unwrap());
        let ours = "SELECT seq FROM sqlite_sequence WHERE name = 'csb_ours'";
        assert_eq!(connection.query_row(ours, [], |row| row.get(0)), Ok(10));
    }

    #[test]
    fn a_copy_whose_tables_count_nothing_keeps_no_numbers() {
        let (_, objects) = counting();
        let copy = Connection::open_in_memory().unwrap();
        write(&copy, &objects, &[vec![Datum::Text("theirs".into()), Datum::Integer(7)]]).unwrap();
        assert_eq!(read(&copy, &objects).unwrap(), Some(Vec::new()));
    }

    #[test]
    fn what_keeps_numbers_from_being_read_is_no_damage() {
        let (mut connection, objects) = counting();
        connection.progress_handler(1, Some(|| true)).unwrap();
        assert!(read(&connection, &objects).is_err());
    }
}
