//! Plays the server of a sample pool for a moment: users, contacts, presence and conference files change.
//!
//! `sample_server FOLDER`, with the pool's folder of a sample deployment.

#![allow(clippy::print_stdout, reason = "a program that tells what it did")]

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use rusqlite::Connection;

const CHANGES: &str = "
PRAGMA foreign_keys = ON;
BEGIN;
INSERT INTO users (sip_uri, display_name)
    VALUES ('sip:new.' || (SELECT max(id) + 1 FROM users) || '@litwareinc.com', 'A New User');
INSERT INTO contacts (owner, sip_uri, groups, added_ms)
    SELECT (SELECT max(id) FROM users), sip_uri, 'Favourites', 0 FROM users ORDER BY id LIMIT 5;
UPDATE presence SET note = 'In a meeting' WHERE owner BETWEEN 10 AND 19;
DELETE FROM users WHERE id = (SELECT min(id) FROM users);
COMMIT;
";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args_os().nth(1).ok_or("usage: sample_server FOLDER")?;
    let folder = Path::new(&folder);
    let server = Connection::open(folder.join("users.sqlite"))?;
    server.busy_timeout(std::time::Duration::from_secs(10))?;
    server.execute_batch(CHANGES)?;
    let share = folder.join("share");
    fs::create_dir_all(share.join("conference-new"))?;
    fs::write(share.join("conference-new/minutes.txt"), "Minutes of a meeting that was just held.\n")?;
    let notes = share.join("conference-001/notes-0004.txt");
    if notes.exists() {
        fs::remove_file(notes)?;
    }
    println!(
        "1 user added with 5 contacts, 1 deleted with all contacts, 10 presence notes changed, 1 file added, 1 deleted"
    );
    Ok(())
}
