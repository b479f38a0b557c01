//! Settings as plain maps, looked through from the lowest layer to the highest.

use super::*;
use std::collections::BTreeMap;

/// What one layer says: a value, and for a rollout its share.
type Said = BTreeMap<Setting, (Value, Option<(u8, String)>)>;

#[derive(Debug, Clone)]
pub(super) struct Model {
    environment: Settings,
    version: u64,
    layers: Vec<(Scope, u64, Said)>,
}

fn said(terms: &Terms) -> Said {
    let share = |term: &Term| term.share.as_ref().map(|s| (s.percent, s.bucket_key.clone()));
    terms.iter().map(|(setting, term)| (*setting, (term.value, share(term)))).collect()
}

impl Model {
    pub(super) fn new(environment: Settings) -> Self {
        Self { environment, version: 0, layers: Vec::new() }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn version_of(&self, scope: Scope) -> u64 {
        self.layers.iter().find(|(s, ..)| *s == scope).map_or(0, |(_, version, _)| *version)
    }

    fn layer(&self, scope: Scope) -> Said {
        let found = self.layers.iter().find(|(s, ..)| *s == scope);
        found.map(|(.., said)| said.clone()).unwrap_or_default()
    }

    /// Whether a dry run can know of an owner: somebody of its tenant says something.
    pub(super) fn knows(&self, owner: Owner) -> bool {
        let says = |(scope, _, said): &(Scope, u64, Said)| match scope.owner() {
            Some(speaker) if owner.run.is_none() => {
                speaker.tenant == owner.tenant && !said.is_empty()
            }
            speaker => speaker == Some(owner) && !said.is_empty(),
        };
        self.layers.iter().any(says)
    }

    /// Whether a write is one that may be made.
    pub(super) fn takes(scope: Scope, write: &Write) -> bool {
        let (Write::Replace(terms) | Write::Patch(terms)) = write else { return true };
        terms.iter().all(|(setting, term)| match (setting, term.value) {
            (Setting::AutofixEnabled, Value::Bool(on)) => !on || scope != Scope::KillSwitch,
            (Setting::MaxTotalAttempts, Value::Int(n)) => (1..=20).contains(&n),
            (Setting::MaxPerStepAttempts, Value::Int(n)) => (1..=10).contains(&n),
            (Setting::BackoffCapSeconds, Value::Int(n)) => n == 0 || (10..=300).contains(&n),
            _ => false,
        })
    }

    /// Makes a write; whether it changed anything.
    pub(super) fn write(&mut self, scope: Scope, write: &Write) -> bool {
        let before = self.layer(scope);
        let mut after = before.clone();
        match write {
            Write::Replace(terms) => after = said(terms),
            Write::Patch(terms) => after.extend(said(terms)),
            Write::Clear(settings) if settings.is_empty() => after.clear(),
            Write::Clear(settings) => after.retain(|setting, _| !settings.contains(setting)),
        }
        if after == before {
            return false;
        }
        self.version += 1;
        self.layers.retain(|(s, ..)| *s != scope);
        self.layers.push((scope, self.version, after));
        true
    }

    /// Schedules a write and makes it: two versions, whatever it changes.
    pub(super) fn wait_and_write(&mut self, scope: Scope, write: &Write) {
        self.version += 1;
        if !self.write(scope, write) {
            self.version += 1;
        }
    }

    /// A setting's value for an owner, and the layer it comes from.
    pub(super) fn says(&self, setting: Setting, owner: Option<Owner>) -> (Value, Layer) {
        let mut answer = (self.environment.get(setting), Layer::Platform);
        let mut scopes = vec![Scope::Platform];
        if let Some(Owner { tenant, run }) = owner {
            scopes.extend([Scope::Rollout, Scope::Tenant(tenant)]);
            scopes.extend(run.map(|run| Scope::Run(tenant, run)));
        }
        scopes.push(Scope::KillSwitch);
        for scope in scopes {
            let Some((value, share)) = self.layer(scope).remove(&setting) else { continue };
            let reached = share.is_none_or(|(percent, bucket_key)| {
                let rollout = meta_domain::settings::Rollout { value, percent, bucket_key };
                owner.is_some_and(|owner| rollout.reaches(owner.tenant))
            });
            if reached {
                answer = (value, scope.layer());
            }
        }
        answer
    }
}
