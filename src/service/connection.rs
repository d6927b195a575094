//! `Test-CsPoolConnection`: whether this machine reaches what a job on a pool needs, and what is missing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Service;
use super::deployment::Deployment;
use crate::config::Whereabouts;
use crate::error::Result;
use crate::platform::account_name;
use crate::store::Reach;
use crate::store::access::{AccessCheck, StoreRole};
use crate::store::factory;
use crate::store::remote::RemotePlace;
use crate::topology::{Pool, PoolFqdn, StoreUrl, Topology};

/// What was seen of a pool's stores, and of the line to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolConnection {
    /// The pool.
    pub pool_fqdn: PoolFqdn,
    /// The pool that receives its data.
    pub backup_pool_fqdn: Option<PoolFqdn>,
    /// Through what its stores are reached; none where this machine opens them itself.
    pub place: Option<String>,
    /// Whether everything is as jobs need it.
    pub succeeded: bool,
    /// The account that opens the stores.
    pub account: String,
    /// What this account may do with each of them.
    pub checks: Vec<AccessCheck>,
    /// The line, and who answers at its other end; none where there is no line.
    pub line: Option<Line>,
    /// What is allowed, but hardly meant.
    pub warnings: Vec<String>,
}

/// A line to another machine, and who answers there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The machine's host keys that this account's ssh knows, to be compared with what its administrator reads there.
    pub host_keys: Vec<String>,
    /// The version of the program there.
    pub version: String,
    /// The operating system there.
    pub system: String,
    /// The pool whose stores are opened there.
    pub served_pool_fqdn: String,
    /// The pool for whose machine that is done.
    pub partner_fqdn: Option<String>,
    /// What this machine may do there.
    pub grants: Vec<String>,
    /// The folder that the stores lie below.
    pub root: String,
    /// How long it took until the first answer, with all that connecting takes, in milliseconds.
    pub connecting_ms: f64,
    /// How long a call takes there and back, in milliseconds.
    pub round_trip_ms: f64,
    /// How many bytes come in a second, of what cannot be compressed.
    pub bytes_per_second: Option<f64>,
    /// By how much the clock there is ahead of this machine's, in milliseconds.
    pub clock_ahead_ms: i64,
}

/// Clocks that differ by more make times in reports hard to compare.
const CLOCKS_DIFFER_MS: u64 = 5_000;

impl Service {
    /// Looks at everything that a job needs of a pool's stores. Nothing is written.
    pub(super) fn test_connection(&self, fqdn: &PoolFqdn, local_store: bool) -> Result<PoolConnection> {
        let deployment = &self.connected()?.deployment;
        let topology = deployment.documents(local_store)?.topology()?;
        let pool = topology.pool(fqdn)?;
        let stores = stores(deployment, &topology, pool)?;
        let mut seen = PoolConnection {
            pool_fqdn: pool.fqdn.clone(),
            backup_pool_fqdn: pool.backup_pool.clone(),
            place: None,
            succeeded: true,
            account: account_name(),
            checks: Vec::new(),
            line: None,
            warnings: Vec::new(),
        };
        match deployment.reach(pool)? {
            Reach::Here => {
                for (role, url) in &stores {
                    seen.checks.extend(factory::access(*role, url)?);
                }
            }
            Reach::There(place) => self.test_line(&place, &stores, &mut seen)?,
        }
        seen.succeeded = seen.checks.iter().all(|check| check.is_ok);
        Ok(seen)
    }

    fn test_line(
        &self,
        place: &RemotePlace,
        stores: &[(StoreRole, StoreUrl)],
        seen: &mut PoolConnection,
    ) -> Result<()> {
        let asked = stores.iter().map(|(role, url)| Ok((*role, place.relative(url)?)));
        let about = place.about(asked.collect::<Result<_>>()?, || self.clock.now().as_millisecond())?;
        seen.place = Some(place.to_string());
        seen.account = about.rights.account;
        seen.checks = about.rights.checks;
        let line = Line {
            host_keys: place.route().map(|route| route.host_keys()).unwrap_or_default(),
            version: about.program,
            system: about.welcome.system,
            served_pool_fqdn: about.welcome.pool,
            partner_fqdn: about.welcome.partner,
            grants: about.welcome.grants,
            root: about.rights.root,
            connecting_ms: milliseconds(about.connecting),
            round_trip_ms: milliseconds(about.round_trip),
            bytes_per_second: about.rate.map(f64::round),
            clock_ahead_ms: about.clock_ahead_ms,
        };
        if line.clock_ahead_ms.unsigned_abs() > CLOCKS_DIFFER_MS {
            let seconds = line.clock_ahead_ms / 1000;
            seen.warnings.push(format!(
                "The clock at {place} is ahead of this machine's by {seconds} s: times in reports do not compare. Let both follow a time server."
            ));
        }
        if line.version != env!("CARGO_PKG_VERSION") {
            seen.warnings.push(format!(
                "{place} has version {}, this machine {}: install the same one on both.",
                line.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        let is_partner = |partner: &String| {
            seen.backup_pool_fqdn.as_ref().is_none_or(|pool| partner.eq_ignore_ascii_case(pool.as_str()))
        };
        if let Some(partner) = line.partner_fqdn.as_ref().filter(|partner| !is_partner(partner)) {
            seen.warnings.push(format!(
                "The key at {place} is that of {partner}, which is not the pool's backup pool."
            ));
        }
        seen.line = Some(line);
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The stores of a pool that jobs of both directions open.
pub(super) fn stores(
    deployment: &Deployment,
    topology: &Topology,
    pool: &Pool,
) -> Result<Vec<(StoreRole, StoreUrl)>> {
    let mut found = vec![
        (StoreRole::UserStore, pool.user_store.url.clone()),
        (StoreRole::ContentStore, pool.content_store.url.clone()),
    ];
    let machine = |at: &Whereabouts| at.there().map(|there| there.machine());
    let config = &deployment.config;
    let hosts_master = topology.central_management_pool == pool.fqdn;
    if hosts_master && machine(&config.management_place) == machine(&config.whereabouts(pool)?) {
        found.push((StoreRole::ManagementStore, config.central_management_store.clone()));
    }
    if let Some(standby) = &pool.standby {
        found.push((StoreRole::UserCopy, standby.user_store.clone()));
        found.push((StoreRole::ContentCopy, standby.content_store.clone()));
        found.push((StoreRole::ServiceStore, standby.service_store.clone()));
    }
    Ok(found)
}
