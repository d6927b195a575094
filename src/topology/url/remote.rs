//! URLs of stores that are no files of this machine.

use std::path::Path;

use url::{Url, form_urlencoded};

use super::{Engine, absolute};
use crate::error::{Error, ErrorKind, Result};

/// A parameter whose value is the path of a file.
const PASSWORD_FILE: &str = "password-file";
/// A parameter whose value is the name of an environment variable.
const PASSWORD_ENV: &str = "password-env";

/// The port that a server listens at where the URL names none.
const POSTGRES_PORT: u16 = 5432;

/// Reads what follows the scheme, and brings it into one spelling.
///
/// # Errors
/// `InvalidValue`; its text holds nothing of the URL but names that cannot be secrets.
pub(super) fn parse(engine: Engine, rest: &str, base: &Path) -> Result<Url> {
    let wrong = |what: &str| wrong(engine, what);
    if !rest.starts_with("//") {
        return Err(wrong("has no // after the colon"));
    }
    let mut url = Url::parse(&format!("{}:{rest}", engine.scheme()))
        .map_err(|cause| wrong(&format!("cannot be read: {cause}")))?;
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    if host.is_empty() {
        return Err(wrong(if engine == Engine::Postgres { "names no host" } else { "names no bucket" }));
    }
    if url.fragment().is_some() {
        return Err(wrong("has a #, which must be written %23"));
    }
    let path = url.path().trim_matches('/').to_owned();
    if engine == Engine::Postgres && (path.is_empty() || path.contains('/')) {
        return Err(wrong("names no database, or more than one"));
    }
    let parameters = parameters(&url, base).map_err(|what| wrong(&what))?;
    let failed = |_| wrong("cannot be read");
    url.set_host(Some(&host)).map_err(failed)?;
    url.set_path(&path);
    if engine == Engine::Postgres && url.port() == Some(POSTGRES_PORT) {
        url.set_port(None).map_err(|()| wrong("cannot be read"))?;
    }
    url.set_query(parameters.as_deref());
    Ok(url)
}

/// The parameters in the order of their names, or what is wrong with them.
fn parameters(url: &Url, base: &Path) -> Result<Option<String>, String> {
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in &mut pairs {
        if value.is_empty() && [PASSWORD_FILE, PASSWORD_ENV].contains(&name.as_str()) {
            return Err(format!("has a {name} without a value"));
        }
        if name == PASSWORD_FILE {
            let path = absolute(value, base).map_err(|error| error.message)?;
            *value = path.to_string_lossy().into_owned();
        }
    }
    let sources = pairs.iter().filter(|(name, _)| [PASSWORD_FILE, PASSWORD_ENV].contains(&name.as_str()));
    if sources.count() > 1 {
        return Err("names more than one place of the password".to_owned());
    }
    pairs.sort();
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    Ok(Some(query).filter(|query| !query.is_empty()))
}

fn wrong(engine: Engine, what: &str) -> Error {
    let form = match engine {
        Engine::S3 => "s3://BUCKET/PREFIX",
        Engine::Azure => "az://CONTAINER/PREFIX",
        _ => "postgres://USER@HOST:PORT/DATABASE?password-file=PATH",
    };
    Error::new(
        ErrorKind::InvalidValue,
        format!("The {}: URL {what}.", engine.scheme()),
        format!("Write it as {form}."),
    )
}
