//! The topology as the document that administrators write, so that a published one can be saved, edited and published.

use toml::{Table, Value};

use super::history::span_text;
use super::{HistoryLimits, Pool, Standby, StoreUrl, Topology, UserStoreConfig};

impl Topology {
    /// The topology document in TOML, with absolute paths.
    pub fn to_toml(&self) -> String {
        let mut document = Table::new();
        document.insert("central_management_pool".to_owned(), text(&self.central_management_pool));
        document.insert(
            "pools".to_owned(),
            Value::Array(self.pools.iter().map(pool).map(Value::Table).collect()),
        );
        // A table of strings and tables can always be written.
        toml::to_string(&document).unwrap_or_default()
    }
}

fn pool(pool: &Pool) -> Table {
    let mut out = Table::new();
    out.insert("fqdn".to_owned(), text(&pool.fqdn));
    out.extend(pool.site.iter().map(|site| ("site".to_owned(), text(site))));
    if !pool.computers.is_empty() {
        out.insert("computers".to_owned(), list(&pool.computers));
    }
    out.extend(pool.backup_pool.iter().map(|backup| ("backup_pool".to_owned(), text(backup))));
    out.extend(pool.place.iter().map(|place| ("place".to_owned(), text(place))));
    let mut user_store = store(&pool.user_store.url);
    let config = &pool.user_store;
    if !config.exclude.is_empty() {
        user_store.insert("exclude".to_owned(), list(&config.exclude));
    }
    if config.server_waits {
        user_store.insert("server_waits".to_owned(), Value::Boolean(true));
    }
    if config.max_lock_ms != UserStoreConfig::MAX_LOCK_MS {
        let max_lock_ms = i64::try_from(config.max_lock_ms).unwrap_or(i64::MAX);
        user_store.insert("max_lock_ms".to_owned(), Value::Integer(max_lock_ms));
    }
    user_store.extend(history(&config.history));
    out.insert("user_store".to_owned(), Value::Table(user_store));
    let mut content_store = store(&pool.content_store.url);
    content_store.extend(history(&pool.content_store.history));
    out.insert("content_store".to_owned(), Value::Table(content_store));
    out.extend(pool.standby.iter().map(|held| ("standby".to_owned(), Value::Table(standby(held)))));
    out
}

/// The limits of a history, where they are others than those by default.
fn history(limits: &HistoryLimits) -> Option<(String, Value)> {
    let texts = [("keep", span_text(limits.keep)), ("max", limits.max.to_string())];
    let table = texts.map(|(name, limit)| (name.to_owned(), Value::String(limit)));
    (*limits != HistoryLimits::default())
        .then(|| ("history".to_owned(), Value::Table(Table::from_iter(table))))
}

fn standby(standby: &Standby) -> Table {
    let mut out = Table::new();
    out.insert("user_store".to_owned(), text(&standby.user_store));
    out.insert("content_store".to_owned(), text(&standby.content_store));
    out.extend(standby.management_store.iter().map(|url| ("management_store".to_owned(), text(url))));
    out.insert("service_store".to_owned(), text(&standby.service_store));
    out
}

fn store(url: &StoreUrl) -> Table {
    Table::from_iter([("url".to_owned(), text(url))])
}

fn text(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

fn list(values: &[String]) -> Value {
    Value::Array(values.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_rendered_is_read_back() {
        let document = r#"
            central_management_pool = "atl.example.com"
            [[pools]]
            fqdn = "atl.example.com"
            site = "Atlanta \"North\""
            computers = ["fe1", "fe2"]
            place = "atlanta"
            backup_pool = "chi.example.com"
            user_store = { url = "sqlite:a.sqlite", exclude = ["s_*"], server_waits = true, max_lock_ms = 50, history = { keep = "36h", max = "10GiB" } }
            content_store = { url = "file:a", history = { keep = "2d", max = "1x" } }
            standby = { user_store = "sqlite:as.sqlite", content_store = "file:as", management_store = "sqlite:cms.sqlite" }
            [[pools]]
            fqdn = "chi.example.com"
            backup_pool = "atl.example.com"
            user_store = { url = "sqlite:c.sqlite" }
            content_store = { url = "file:c" }
            standby = { user_store = "sqlite:cs.sqlite", content_store = "file:cs" }
        "#;
        let topology = Topology::from_toml(document, Path::new("/srv/topology.toml")).unwrap();
        let again = Topology::from_toml(&topology.to_toml(), Path::new("/elsewhere/topology.toml")).unwrap();
        assert_eq!(again, topology);
    }
}
