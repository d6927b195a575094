//! The topology document as administrators write it: TOML, strict, with errors that name the line.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::input::{absolute, read_text};
use super::validate::Lines;
use super::{
    ContentStoreConfig, HistoryLimits, Pool, PoolFqdn, PoolPlace, Standby, StoreUrl, Topology,
    UserStoreConfig,
};
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopologyToml {
    central_management_pool: Spanned<String>,
    pools: Vec<PoolToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolToml {
    fqdn: Spanned<String>,
    site: Option<String>,
    #[serde(default)]
    computers: Vec<String>,
    backup_pool: Option<Spanned<String>>,
    place: Option<Spanned<String>>,
    user_store: UserStoreToml,
    content_store: ContentStoreToml,
    standby: Option<StandbyToml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserStoreToml {
    url: Spanned<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    server_waits: bool,
    max_lock_ms: Option<u64>,
    #[serde(default)]
    history: HistoryLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentStoreToml {
    url: Spanned<String>,
    #[serde(default)]
    history: HistoryLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StandbyToml {
    user_store: Spanned<String>,
    content_store: Spanned<String>,
    management_store: Option<Spanned<String>>,
    service_store: Option<Spanned<String>>,
}

/// A topology, and where in a file its pools stand.
#[derive(Debug)]
pub struct TopologyDocument {
    /// The topology, valid in itself.
    pub topology: Topology,
    /// The file, with its absolute path.
    pub file: PathBuf,
    lines: Lines,
}

impl TopologyDocument {
    /// Reads and validates a topology document. Paths in it are relative to the folder it lies in, those of a pool with a
    /// place to that.
    ///
    /// # Errors
    /// `FileMissing`, `SyntaxError`, `UnknownField`, `InvalidValue`, `UnsupportedStore` and everything that validation
    /// finds; each names the file and the line.
    pub fn read(file: &Path) -> Result<Self> {
        let file = absolute("file", file)?;
        let text = read_text(&file, "topology document")?;
        Self::from_toml(&text, &file)
    }

    fn from_toml(text: &str, file: &Path) -> Result<Self> {
        let document: TopologyToml = toml::from_str(text).map_err(|cause| toml_error(&cause, text, file))?;
        let reader = DocumentReader { text, file };
        let mut lines = Lines::default();
        let central_management_pool = reader.fqdn(&document.central_management_pool)?;
        lines.central_management_pool = reader.line(&document.central_management_pool);
        let mut pools = Vec::with_capacity(document.pools.len());
        for pool in &document.pools {
            lines.pools.push(reader.line(&pool.fqdn));
            pools.push(reader.pool(pool)?);
        }
        let topology = Topology { central_management_pool, pools };
        topology.validate(file, &lines)?;
        Ok(TopologyDocument { topology, file: file.to_owned(), lines })
    }

    /// The same error, naming the file and the line of the pool that it is about.
    pub fn at_pool(&self, pool: &PoolFqdn, error: Error) -> Error {
        let line = self.topology.pools.iter().zip(&self.lines.pools).find(|(found, _)| found.fqdn == *pool);
        located(error, &self.file, line.map_or(1, |(_, line)| *line))
    }
}

impl Topology {
    /// The topology of a document whose text is given.
    ///
    /// # Errors
    /// As for [`TopologyDocument::read`].
    pub fn from_toml(text: &str, file: &Path) -> Result<Self> {
        TopologyDocument::from_toml(text, file).map(|document| document.topology)
    }
}

/// What the URLs of one pool are relative to.
struct Base<'a> {
    folder: &'a Path,
    /// Whether all must lie below it: at another machine nothing else can be reached.
    holds_all: bool,
}

impl Base<'_> {
    fn check(&self, url: &StoreUrl) -> Result<()> {
        if !self.holds_all || url.below(self.folder).is_some() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidValue,
            format!("{url} does not lie below the root of the pool's place, {}.", self.folder.display()),
            "Write a path relative to the root, or name a root as place that has all stores of the pool below it.",
        ))
    }
}

struct DocumentReader<'a> {
    text: &'a str,
    file: &'a Path,
}

impl DocumentReader<'_> {
    fn line<T>(&self, value: &Spanned<T>) -> usize {
        line_of(self.text, value.span().start)
    }

    fn at<T>(&self, value: &Spanned<T>, error: Error) -> Error {
        located(error, self.file, self.line(value))
    }

    fn fqdn(&self, name: &Spanned<String>) -> Result<PoolFqdn> {
        PoolFqdn::parse(name.get_ref()).map_err(|error| self.at(name, error))
    }

    fn place(&self, place: &Spanned<String>) -> Result<PoolPlace> {
        PoolPlace::parse(place.get_ref(), self.folder()).map_err(|error| self.at(place, error))
    }

    /// What everything is relative to that has no place.
    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// A URL of a database, or of a store of files, that this version can open.
    fn url(&self, url: &Spanned<String>, base: &Base<'_>, is_database: bool) -> Result<StoreUrl> {
        let parsed = StoreUrl::parse(url.get_ref(), base.folder);
        parsed
            .and_then(|parsed| {
                parsed.require(is_database).and_then(|()| base.check(&parsed)).map(|()| parsed)
            })
            .map_err(|error| self.at(url, error))
    }

    fn pool(&self, pool: &PoolToml) -> Result<Pool> {
        let place = pool.place.as_ref().map(|place| self.place(place)).transpose()?;
        let base = &Base {
            folder: place.as_ref().map_or(self.folder(), PoolPlace::root),
            holds_all: place.as_ref().is_some_and(|place| place.ssh().is_some()),
        };
        Ok(Pool {
            fqdn: self.fqdn(&pool.fqdn)?,
            site: pool.site.clone(),
            computers: pool.computers.clone(),
            backup_pool: pool.backup_pool.as_ref().map(|name| self.fqdn(name)).transpose()?,
            user_store: UserStoreConfig {
                url: self.url(&pool.user_store.url, base, true)?,
                exclude: pool.user_store.exclude.clone(),
                server_waits: pool.user_store.server_waits,
                max_lock_ms: pool.user_store.max_lock_ms.unwrap_or(UserStoreConfig::MAX_LOCK_MS),
                history: pool.user_store.history.clone(),
            },
            content_store: ContentStoreConfig {
                url: self.url(&pool.content_store.url, base, false)?,
                history: pool.content_store.history.clone(),
            },
            standby: pool.standby.as_ref().map(|standby| self.standby(standby, base)).transpose()?,
            place,
        })
    }

    fn standby(&self, standby: &StandbyToml, base: &Base<'_>) -> Result<Standby> {
        let database = |url: &Spanned<String>| self.url(url, base, true);
        let user_store = database(&standby.user_store)?;
        let service_store = match &standby.service_store {
            Some(url) => database(url)?,
            None => user_store.beside(|path| path.with_extension("service.sqlite")).ok_or_else(|| {
                let error = Error::new(
                    ErrorKind::InvalidValue,
                    "A standby.user_store that is no file has no place beside it for the service_store.",
                    "Add standby.service_store.",
                );
                self.at(&standby.user_store, error)
            })?,
        };
        Ok(Standby {
            content_store: self.url(&standby.content_store, base, false)?,
            management_store: standby.management_store.as_ref().map(database).transpose()?,
            user_store,
            service_store,
        })
    }
}

/// A failure of the TOML parser as an error that names file, line and remedy.
pub fn toml_error(cause: &toml::de::Error, text: &str, file: &Path) -> Error {
    let message = cause.message();
    let (kind, advice) = if message.starts_with("unknown field") {
        (ErrorKind::UnknownField, "Remove the field or correct its name; docs/documents.md lists all fields.")
    } else if message.starts_with("missing field") || message.starts_with("invalid type") {
        (
            ErrorKind::InvalidValue,
            "See docs/documents.md for the fields, which of them are required, and their types.",
        )
    } else {
        (ErrorKind::SyntaxError, "Correct the TOML at this place.")
    };
    let Range { start, .. } = cause.span().unwrap_or_default();
    let message = without_value(message).replace('`', "\"");
    located(Error::new(kind, message, advice), file, line_of(text, start))
}

/// What the parser says without the text that it quotes of a value of the wrong type: that may be a URL with a password.
fn without_value(message: &str) -> String {
    match (message.split_once(": string \""), message.rsplit_once("\", expected ")) {
        (Some((what, _)), Some((_, expected))) => format!("{what}: a string, expected {expected}"),
        _ => message.to_owned(),
    }
}

/// The same error, with file and line in its sentence and its context.
pub fn located(mut error: Error, file: &Path, line: usize) -> Error {
    error.message = format!("{}:{line}: {}", file.display(), error.message);
    error.at("file", file.display()).at("line", line)
}

/// The line, counted from 1, that this byte of a text stands in.
pub fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
}
