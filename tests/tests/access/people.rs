//! Tenants with somebody of each role, and with something of each kind.

use anyhow::{Context, Result};
use meta_domain::role::Role;
use meta_tests::processes::{Answer, Rest, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An id that nothing has.
pub const NOBODY: &str = "01890000-0000-7000-8000-00000000dead";
/// A step that waits for a human before it starts.
const WAITS: &str = "first";

/// A running installation without quotas.
pub async fn up() -> Result<(Up, tempfile::TempDir)> {
    up_with(&[]).await
}

/// The same with more variables.
pub async fn up_with(vars: &[(&str, &str)]) -> Result<(Up, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let vars = [&[("METABUILDER_LIMITS", "off")], vars].concat();
    Ok((Up::start(&folder.path().join("data"), &vars).await?, folder))
}

/// A tenant with somebody of each role.
pub struct Tenant {
    /// Its id.
    pub id: String,
    people: BTreeMap<Role, Rest>,
}

impl Tenant {
    /// A new one of the installation that `admin` operates.
    pub async fn new(admin: &Rest, name: &str) -> Result<Self> {
        let made = admin.post("/tenants", &json!({ "name": name })).await?.with(201)?;
        let id = text(&made["data"]["id"])?;
        let mut people = BTreeMap::new();
        for role in Role::OF_CALLERS {
            let user = json!({ "email": format!("{role}@{name}.example"), "role": role });
            let user = admin.post(&format!("/tenants/{id}/users"), &user).await?.with(201)?;
            let key = text(&user["data"]["attributes"]["api_key"])?;
            people.insert(role, admin.with_key(&key));
        }
        Ok(Self { id, people })
    }

    /// Whoever has this role.
    pub fn role(&self, role: Role) -> &Rest {
        &self.people[&role]
    }

    /// Everybody.
    pub fn people(&self) -> impl Iterator<Item = (Role, &Rest)> {
        self.people.iter().map(|(role, rest)| (*role, rest))
    }

    /// One object of each kind.
    pub async fn objects(&self) -> Result<Objects> {
        let owner = self.role(Role::Owner);
        let steps = json!([{ "name": WAITS, "run": "true", "approval": "before" }]);
        let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
        let spec = owner.planned(&spec).await?;
        let shown = owner.get(&format!("/specs/{spec}")).await?.with(200)?;
        let plan = shown["included"].as_array().into_iter().flatten();
        let plan = text(&plan.clone().find(|r| r["type"] == "plan").context("a plan")?["id"])?;
        let run = owner.run(&spec, &json!({ "async": false })).await?;
        let gates = owner.get(&format!("/approvals?run_id={run}")).await?.with(200)?;
        let gate = text(&gates["data"][0]["id"])?;
        let hook = json!({ "url": "https://8.8.8.8/hook", "events": ["approval.expired"] });
        let hook = owner.post("/webhooks", &hook).await?.with(201)?;
        let key = json!({ "name": "ci", "role": "viewer" });
        let key = owner.post(&format!("/tenants/{}/keys", self.id), &key).await?.with(201)?;
        let later = meta_runtime::now().plus_ms(3_600_000);
        let path = format!("/tenants/{}/settings?effective_at={later}", self.id);
        let six = json!({ "data": { "attributes": { "max_total_attempts": 6 } } });
        let later = owner.request(Method::PATCH, &path).json(&six).send().await?;
        let later = Answer::of(later).await?.with(202)?;
        Ok(Objects(BTreeMap::from([
            ("tenant_id", self.id.clone()),
            ("spec_id", spec),
            ("plan_id", plan),
            ("run_id", run),
            ("gate_id", gate),
            ("webhook_id", text(&hook["data"]["id"])?),
            ("key_id", text(&key["data"]["id"])?),
            ("scheduled_id", text(&later["data"]["id"])?),
            ("step", WAITS.to_owned()),
            ("name", "log".to_owned()),
            ("action", "cancel".to_owned()),
            ("key", "autofix_enabled".to_owned()),
            ("layer", "platform".to_owned()),
        ])))
    }
}

/// Names of objects by the names of the parameters that hold them.
#[derive(Debug, Clone)]
pub struct Objects(BTreeMap<&'static str, String>);

impl Objects {
    /// The same names where every id is one that nothing has.
    pub fn of_nobody(&self) -> Self {
        let nobody = |name: &str, value: &String| {
            if name.ends_with("_id") { NOBODY.to_owned() } else { value.clone() }
        };
        Self(self.0.iter().map(|(name, value)| (*name, nobody(name, value))).collect())
    }

    /// What a parameter of this name means.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A path with these in place of its parameters.
    pub fn fill(&self, pattern: &str) -> String {
        let part = |part: &str| {
            let name = part.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
            name.and_then(|name| self.get(name)).unwrap_or(part).to_owned()
        };
        pattern.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    /// A text without the ids, so that answers about different ones can be compared.
    pub fn without_ids(&self, text: &str) -> String {
        let ids = self.0.iter().filter(|(name, _)| name.ends_with("_id"));
        ids.fold(text.to_owned(), |text, (_, id)| text.replace(id.as_str(), "ID"))
    }

    /// How the objects stand, as their owner sees them.
    pub async fn state(&self, owner: &Rest) -> Result<Value> {
        let mut all = serde_json::Map::new();
        for path in [
            "/api/meta/v2/specs/{spec_id}",
            "/api/meta/v2/runs/{run_id}",
            "/api/meta/v2/runs/{run_id}/settings",
            "/api/meta/v2/webhooks/{webhook_id}",
            "/api/meta/v2/tenants/{tenant_id}/keys",
            "/api/meta/v2/tenants/{tenant_id}/settings",
            "/api/meta/v2/tenants/{tenant_id}/settings/history",
            "/api/meta/v2/approvals",
        ] {
            let answer = owner.elsewhere(Method::GET, &self.fill(path)).send().await?;
            let mut document = Answer::of(answer).await?.with(200)?;
            // when a key was last used is no change of anything
            if path.ends_with("/keys") {
                for key in document["data"].as_array_mut().context("keys")? {
                    key["attributes"]["last_used_at"] = Value::Null;
                }
            }
            all.insert(path.to_owned(), document);
        }
        Ok(all.into())
    }
}

/// The text of a document's field.
pub fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a text")?.to_owned())
}
