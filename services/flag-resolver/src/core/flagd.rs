//! The flags as flagd's JSON, for clients that evaluate them in their own process. It is made for
//! one tenant: nobody gets to see what others have set.

use meta_domain::id::{RunId, TenantId};
use meta_domain::settings::openfeature::{FLAG_SET, RUN_ATTRIBUTE, TENANT_ATTRIBUTE, variant};
use meta_domain::settings::{Freshness, Layer, Owner, Setting, Snapshot, Value};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// The configuration for a tenant; the platform's alone for nobody.
pub fn configuration(
    snapshot: &Snapshot,
    freshness: Freshness,
    tenant: Option<TenantId>,
) -> String {
    let runs = tenant.map(|t| snapshot.of_tenant(t)).unwrap_or_default();
    let flags: Map<String, Json> = Setting::ALL
        .iter()
        .map(|setting| {
            let flag = Flag { snapshot, freshness, setting: *setting, tenant };
            (setting.as_str().to_owned(), flag.json(&flag.runs(&runs)))
        })
        .collect();
    let metadata = json!({ "flagSetId": FLAG_SET, "version": snapshot.version });
    json!({ "flags": flags, "metadata": metadata }).to_string()
}

struct Flag<'a> {
    snapshot: &'a Snapshot,
    freshness: Freshness,
    setting: Setting,
    tenant: Option<TenantId>,
}

impl Flag<'_> {
    /// The runs that override the setting, by their value; a list is looked through faster than a
    /// chain of conditions.
    fn runs(
        &self,
        overrides: &[(Owner, meta_domain::settings::Overrides)],
    ) -> BTreeMap<String, (Value, Vec<RunId>)> {
        let mut runs = BTreeMap::new();
        for (owner, over) in overrides {
            if let (Some(run), Some(value)) = (owner.run, over.get(self.setting)) {
                let of_value: &mut (Value, Vec<RunId>) =
                    runs.entry(format!("run:{value}")).or_insert((value, Vec::new()));
                of_value.1.push(run);
            }
        }
        runs
    }

    fn json(&self, runs: &BTreeMap<String, (Value, Vec<RunId>)>) -> Json {
        let (base, layer) = self.of(None);
        let mut variants = Map::from_iter([(variant(layer).to_owned(), json!(base))]);
        let mut rules = Vec::new();
        if let Some(tenant) = self.tenant.filter(|_| !is_for_all(layer)) {
            let is_tenant = json!({ "==": [{ "var": [TENANT_ATTRIBUTE, tenant.0] }, tenant.0] });
            for (name, (value, ids)) in runs {
                variants.insert(name.clone(), json!(value));
                let is_run = json!({ "in": [{ "var": RUN_ATTRIBUTE }, ids] });
                rules.extend([json!({ "and": [is_tenant, is_run] }), json!(name)]);
            }
            let (value, layer) = self.of(Some(Owner::tenant(tenant)));
            if layer != Layer::Platform {
                variants.insert(variant(layer).to_owned(), json!(value));
                rules.extend([is_tenant, json!(variant(layer))]);
            }
        }
        let mut flag = json!({
            "state": "ENABLED",
            "variants": variants,
            "defaultVariant": variant(layer),
            "metadata": { "version": self.snapshot.version, "stale": self.freshness.is_stale() },
        });
        if !rules.is_empty() {
            rules.push(Json::Null);
            flag["targeting"] = json!({ "if": rules });
        }
        flag
    }

    fn of(&self, owner: Option<Owner>) -> (Value, Layer) {
        self.snapshot.evaluate(self.setting, owner, self.freshness)
    }
}

/// Whether nothing else can win against this layer.
fn is_for_all(layer: Layer) -> bool {
    matches!(layer, Layer::KillSwitch | Layer::FailClosed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::settings::{Environment, Overrides, Settings, SnapshotChange};
    use uuid::Uuid;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn total(n: u32) -> Overrides {
        Overrides { max_total_attempts: Some(n), ..Overrides::default() }
    }

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::of(Settings::default_of(Environment::Staging));
        let run = |n| Owner { tenant: TENANT, run: Some(RunId(Uuid::from_u128(n))) };
        let foreign = TenantId(Uuid::from_u128(99));
        let overrides = vec![
            (Owner::tenant(TENANT), total(9)),
            (run(7), total(2)),
            (run(8), total(2)),
            (Owner::tenant(foreign), total(17)),
        ];
        let whole = snapshot.whole();
        snapshot.take(SnapshotChange { version: 5, overrides, ..whole });
        snapshot
    }

    fn flag(snapshot: &Snapshot, tenant: Option<TenantId>, freshness: Freshness) -> Json {
        let text = configuration(snapshot, freshness, tenant);
        let all: Json = serde_json::from_str(&text).unwrap();
        all["flags"]["max_total_attempts"].clone()
    }

    #[test]
    fn a_tenant_sees_its_own_overrides_and_nobody_elses() {
        let snapshot = snapshot();
        let flag = flag(&snapshot, Some(TENANT), Freshness::Fresh);
        assert_eq!(flag["variants"], json!({ "platform": 6, "run:2": 2, "tenant": 9 }));
        assert_eq!(flag["defaultVariant"], "platform");
        let rules = flag["targeting"]["if"].as_array().unwrap();
        let ids = [Uuid::from_u128(7), Uuid::from_u128(8)];
        assert_eq!(rules[0]["and"][1]["in"][1], json!(ids));
        assert_eq!(
            (&rules[1], &rules[3], &rules[4]),
            (&json!("run:2"), &json!("tenant"), &Json::Null)
        );
        assert!(!configuration(&snapshot, Freshness::Fresh, Some(TENANT)).contains("17"));
    }

    #[test]
    fn nobody_sees_the_platform_alone() {
        let flag = flag(&snapshot(), None, Freshness::Fresh);
        assert_eq!(flag["variants"], json!({ "platform": 6 }));
        assert_eq!(flag.get("targeting"), None);
    }

    #[test]
    fn a_kill_switch_leaves_no_choice() {
        let mut snapshot = snapshot();
        snapshot.kill_switch = total(1);
        let flag = flag(&snapshot, Some(TENANT), Freshness::Fresh);
        assert_eq!(flag["variants"], json!({ "kill-switch": 1 }));
        assert_eq!((&flag["defaultVariant"], flag.get("targeting")), (&json!("kill-switch"), None));
    }

    #[test]
    fn an_expired_snapshot_turns_auto_fix_off() {
        let freshness = Freshness::Expired { age_ms: 1_000_000 };
        let text = configuration(&snapshot(), freshness, Some(TENANT));
        let all: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(all["flags"]["autofix_enabled"]["variants"], json!({ "fail-closed": false }));
    }
}
