//! The pools of a Cloudflare load balancer: which are enabled, and in what order.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::cloudflare_api::{CloudflareAccess, Zone};
use super::{POOLS, TrafficError, TrafficProvider, Visibility, refuse_difference};
use crate::agent::https::Request;
use crate::agent::types::RecordState;

/// A load balancer. Its state has pool ids as values, in the order in which they are tried, and a weight
/// for each: 1 for an enabled pool, 0 for a disabled one.
#[derive(Debug)]
pub struct CloudflareLoadBalancer {
    /// How Cloudflare is reached.
    pub access: CloudflareAccess,
    /// The zone that the load balancer is in.
    pub zone: Zone,
    /// The account that its pools are in.
    pub account_id: String,
    /// The load balancer's id.
    pub load_balancer_id: String,
}

#[derive(Deserialize)]
struct Balancer {
    name: String,
    #[serde(default)]
    ttl: Option<u32>,
    default_pools: Vec<String>,
    #[serde(default)]
    proxied: bool,
    #[serde(default)]
    region_pools: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pop_pools: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    country_pools: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Pool {
    enabled: bool,
}

/// How long resolvers keep the answer of a load balancer that is not proxied and has no TTL of its own.
const DEFAULT_TTL_S: u32 = 30;

impl CloudflareLoadBalancer {
    fn path(&self, zone_path: &str) -> String {
        format!("{zone_path}/load_balancers/{}", self.load_balancer_id)
    }

    fn pool_path(&self, id: &str) -> String {
        format!("/accounts/{}/load_balancers/pools/{id}", self.account_id)
    }

    /// The changes from `expected` to `wanted`: pools that come are enabled first and pools that go are
    /// disabled last, so that no moment has no pool.
    fn changes(&self, zone_path: &str, expected: &RecordState, wanted: &RecordState) -> Vec<Request> {
        let state_of = |state: &RecordState| -> BTreeMap<String, bool> {
            let pools = state.values.iter().cloned().enumerate();
            pools.map(|(at, pool)| (pool, state.weights.get(at).is_none_or(|weight| *weight > 0))).collect()
        };
        let before = state_of(expected);
        let switch = |to: bool| {
            let changed = state_of(wanted).into_iter().filter(move |(_, enabled)| *enabled == to);
            let changed: Vec<String> = changed
                .filter(|(pool, enabled)| before.get(pool) != Some(enabled))
                .map(|(pool, _)| pool)
                .collect();
            changed
                .into_iter()
                .map(move |pool| self.access.patch_request(&self.pool_path(&pool), &json!({ "enabled": to })))
        };
        let order = (expected.values != wanted.values).then(|| {
            self.access.patch_request(&self.path(zone_path), &json!({ "default_pools": wanted.values }))
        });
        switch(true).chain(order).chain(switch(false)).collect()
    }
}

impl TrafficProvider for CloudflareLoadBalancer {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        let zone_path = format!("/zones/{}", self.access.zone_id(&self.zone)?);
        let balancer: Balancer = self.access.get(&self.path(&zone_path))?;
        let steered = [&balancer.region_pools, &balancer.pop_pools, &balancer.country_pools];
        if steered.iter().any(|pools| !pools.is_empty()) {
            return Err(TrafficError::unfit(
                format!("load balancer {} steers by region, country or point of presence", balancer.name),
                "Order and state of its default pools would not decide alone: steer by failover (off), or \
                 switch by hand",
            ));
        }
        let mut weights = Vec::with_capacity(balancer.default_pools.len());
        for pool in &balancer.default_pools {
            weights.push(u32::from(self.access.get::<Pool>(&self.pool_path(pool))?.enabled));
        }
        Ok(RecordState {
            name: balancer.name,
            kind: POOLS.to_owned(),
            ttl_s: balancer.ttl.unwrap_or(DEFAULT_TTL_S),
            values: balancer.default_pools,
            proxied: Some(balancer.proxied),
            weights,
        })
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        // Cloudflare does not compare, so it is looked at as late as can be.
        refuse_difference(expected, self.read()?)?;
        let zone_path = format!("/zones/{}", self.access.zone_id(&self.zone)?);
        let mut changes = self.changes(&zone_path, expected, wanted).into_iter();
        changes.next().map_or(Ok(()), |first| self.access.send_first_change(first))?;
        // Something has changed already, if one of these fails: that is for reading back to settle.
        changes.try_for_each(|change| {
            self.access.send_change(change).map_err(|error| TrafficError::Unknown(Box::new(error)))
        })
    }

    fn visible(&mut self, _wanted: &RecordState) -> Result<Visibility, TrafficError> {
        Ok(Visibility::Hidden("a load balancer chooses a pool for each client by itself".to_owned()))
    }

    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let mut lines = Vec::new();
        let zone_path = self.access.plan_zone(&self.zone, &mut lines);
        let lookup = lines.clone();
        let read = |pools: &[String]| {
            let paths =
                std::iter::once(self.path(&zone_path)).chain(pools.iter().map(|pool| self.pool_path(pool)));
            paths.map(|path| self.access.get_request(&path).shown()).collect::<Vec<_>>()
        };
        lines.extend(read(&expected.values));
        lines.extend(lookup.clone());
        lines.extend(read(&expected.values));
        lines.extend(lookup.clone());
        lines.extend(self.changes(&zone_path, expected, wanted).iter().map(Request::shown));
        lines.extend(lookup);
        lines.extend(read(&wanted.values));
        lines
    }

    fn limits(&self, _ttl_s: u32) -> Vec<String> {
        vec![
            "a proxied load balancer moves new connections within seconds; one that is not proxied after its \
             TTL (30 s unless set)"
                .to_owned(),
            "Cloudflare's own health checks go on moving traffic between enabled pools".to_owned(),
            "pools that come are enabled before pools that go are disabled; steering must be by order \
             (failover)"
                .to_owned(),
        ]
    }
}
