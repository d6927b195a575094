//! User stores in SQLite databases.
//!
//! The server's database is only ever touched in short transactions: a reader of a rollback journal blocks its
//! writers. Nothing in it uses syntax that an older SQLite than ours, inside the server, could not parse.

mod capture;
mod compare;
mod conflicts;
mod damage;
mod datum;
mod digest;
mod estimate;
mod first_copy;
mod fresh;
mod image;
mod import;
mod index_sql;
mod keys;
mod kinds;
mod logged;
mod look;
mod mirror;
mod module_free;
mod observe;
mod pages;
mod pair;
mod reserved;
mod restore;
mod rows;
mod salvage;
mod schema;
mod seen;
mod sequences;
mod shadow;
mod sides;
mod source;
mod standby;
mod start;
mod taken;
#[cfg(test)]
mod testing;
mod text;
mod traces;
mod triggers;
mod visit;
mod walk;
mod write_behind;

pub use pair::SqlitePair;

/// Everything of ours in a database begins with this.
const PREFIX: &str = "csb_";
