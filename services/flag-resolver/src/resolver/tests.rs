//! Random writes against a naive model. Everything that answers has to agree with it: resolution,
//! evaluation, explanations, who follows, and the flags for those who evaluate by themselves.

mod model;
mod targeting;

use super::*;
use crate::core::flagd::configuration;
use crate::core::write::{Share, Term, Terms};
use crate::watch::follow;
use futures::StreamExt;
use meta_domain::id::RunId;
use meta_domain::settings::{Environment, Freshness, Layer, Setting, Snapshot, Value};
use meta_storage::testing::Fresh;
use model::Model;
use proptest::prelude::*;
use std::collections::BTreeSet;
use targeting::Context;

/// Random sequences, and the writes of one at most.
const SEQUENCES: u32 = 24;
const WRITES_MAX: usize = 24;
/// Tenants and runs of each that writes are about; reads are about one more of each.
const TENANTS: u128 = 3;
const RUNS: u128 = 2;
/// When a write that waits takes effect, and when the store is heard then.
const LATER_MS: i64 = 3_600_000;

fn tenant(n: u128) -> TenantId {
    TenantId(Uuid::from_u128(0x7000_8000_0000_0000_0000 + n))
}

fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(0x9000_0000_0000_0000_0000 + n))
}

/// How a write is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Now,
    Later,
    DryRun,
    IfUnchanged,
    IfChanged,
}

#[derive(Debug, Clone)]
struct Step {
    scope: Scope,
    write: Write,
    manner: Manner,
}

fn scopes() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Platform),
        Just(Scope::Rollout),
        (0..TENANTS).prop_map(|t| Scope::Tenant(tenant(t))),
        (0..TENANTS, 0..RUNS).prop_map(|(t, r)| Scope::Run(tenant(t), run(r))),
        (0..TENANTS, 0..RUNS).prop_map(|(t, r)| Scope::Run(tenant(t), run(r))),
        Just(Scope::KillSwitch),
    ]
}

/// A value of a setting, seldom one that is out of range.
fn value(setting: Setting) -> BoxedStrategy<Value> {
    let number = |low: u32, high: u32| {
        prop_oneof![20 => low..=high, 1 => Just(high + 1)].prop_map(Value::Int).boxed()
    };
    match setting {
        Setting::AutofixEnabled => any::<bool>().prop_map(Value::Bool).boxed(),
        Setting::MaxTotalAttempts => number(1, 20),
        Setting::MaxPerStepAttempts => number(1, 10),
        Setting::BackoffCapSeconds => number(10, 300),
    }
}

fn some_terms() -> impl Strategy<Value = Terms> {
    let term = |setting: &Setting| {
        let setting = *setting;
        proptest::option::of(value(setting).prop_map(move |v| (setting, Term::of(v))))
    };
    let all: Vec<_> = Setting::ALL.iter().map(term).collect();
    all.prop_map(|terms| terms.into_iter().flatten().collect())
}

fn steps() -> impl Strategy<Value = Step> {
    let manner = prop_oneof![
        6 => Just(Manner::Now),
        1 => Just(Manner::Later),
        1 => Just(Manner::DryRun),
        1 => Just(Manner::IfUnchanged),
        1 => Just(Manner::IfChanged),
    ];
    let cleared = proptest::collection::btree_set(proptest::sample::select(Setting::ALL), 0..3);
    let kind = prop_oneof![3 => Just(0), 3 => Just(1), 2 => Just(2)];
    (scopes(), kind, some_terms(), cleared, 0..=100_u8, manner).prop_map(
        |(scope, kind, mut terms, cleared, percent, manner)| {
            if scope == Scope::Rollout {
                let share = Share { percent, bucket_key: format!("key-{}", percent % 3) };
                for term in terms.values_mut() {
                    term.share = Some(share.clone());
                }
            }
            let write = match kind {
                0 => Write::Replace(terms),
                1 => Write::Patch(terms),
                _ => Write::Clear(cleared),
            };
            Step { scope, write, manner }
        },
    )
}

fn owners() -> Vec<Option<Owner>> {
    let of_tenant = |t: u128| {
        let runs = (0..=RUNS).map(move |r| Owner { tenant: tenant(t), run: Some(run(r)) });
        runs.chain([Owner::tenant(tenant(t))])
    };
    (0..=TENANTS).flat_map(of_tenant).map(Some).chain([None]).collect()
}

/// A resolver, the model, and somebody who follows.
struct Race {
    resolver: Arc<Resolver>,
    model: Model,
    followed: Snapshot,
}

impl Race {
    async fn run(steps: Vec<Step>) {
        let fresh = Fresh::sqlite();
        let environment = Settings::default_of(Environment::Staging);
        let resolver = Arc::new(Resolver::new(environment));
        resolver.adopt(FlagStore::open(fresh.location()).await.unwrap()).await.unwrap();
        let mut news = Box::pin(follow(Arc::clone(&resolver)));
        let mut race = Self {
            resolver,
            model: Model::new(environment),
            followed: Snapshot::of(Settings::default_of(Environment::Production)),
        };
        race.followed.take(news.next().await.unwrap().unwrap().try_into().unwrap());
        for step in steps {
            race.step(&step).await;
            while race.followed.version < race.model.version() {
                let told = news.next().await.unwrap().unwrap();
                race.followed.take(told.try_into().unwrap());
            }
            race.agree();
        }
        for owner in owners().into_iter().flatten() {
            race.explained(owner).await;
        }
    }

    async fn step(&mut self, step: &Step) {
        let Step { scope, write, manner } = step;
        let at = now();
        let version = self.model.version_of(*scope);
        let request = Request {
            scope: *scope,
            write: write.clone(),
            by: By { actor: "ann".into(), at, reason: "".into() },
            origin: Origin::default(),
            if_version: match manner {
                Manner::IfUnchanged => Some(version),
                Manner::IfChanged => Some(version + 1),
                Manner::Now | Manner::Later | Manner::DryRun => None,
            },
            dry_run: *manner == Manner::DryRun,
            effective_at: (*manner == Manner::Later).then(|| at.plus_ms(LATER_MS)),
            others: vec![tenant(TENANTS)],
        };
        let outcome = self.resolver.write(request).await;
        if !Model::takes(*scope, write) {
            assert_eq!(outcome.unwrap_err().kind, ErrorKind::InvalidArgument, "{step:?}");
            return;
        }
        let before = self.model.clone();
        match manner {
            Manner::IfChanged => {
                assert_eq!(outcome.unwrap_err().reason, "VERSION_CHANGED", "{step:?}");
            }
            Manner::DryRun => {
                let mut after = before.clone();
                let changed = after.write(*scope, write);
                self.imagined(&outcome.unwrap(), *scope, changed, &after);
            }
            Manner::Later => {
                assert!(outcome.unwrap().scheduled.is_some());
                self.resolver.hear(at.plus_ms(2 * LATER_MS)).await.unwrap();
                self.model.wait_and_write(*scope, write);
            }
            Manner::Now | Manner::IfUnchanged => {
                let outcome = outcome.unwrap();
                assert_eq!(outcome.changed, self.model.write(*scope, write), "{step:?}");
                assert_eq!(outcome.override_version, self.model.version_of(*scope), "{step:?}");
            }
        }
    }

    /// A dry run names exactly those who would get another value, of those it can know.
    fn imagined(&self, outcome: &Outcome, scope: Scope, changed: bool, after: &Model) {
        assert_eq!(outcome.changed, changed);
        let known = |owner: &Owner| {
            let own = scope.owner().is_none_or(|changed| changed.tenant == owner.tenant);
            own && (owner.tenant == tenant(TENANTS) && owner.run.is_none()
                || self.model.knows(*owner)
                || after.knows(*owner))
        };
        let differs = |owner: &Owner| {
            let value = |model: &Model, s: &Setting| model.says(*s, Some(*owner)).0;
            Setting::ALL.iter().any(|s| value(&self.model, s) != value(after, s))
        };
        let all = owners().into_iter().flatten();
        let expected: BTreeSet<_> = all.filter(|o| known(o) && differs(o)).collect();
        let named: BTreeSet<_> = outcome.affected.iter().map(|a| a.owner).collect();
        assert_eq!(named, expected);
    }

    /// Everybody says what the model says.
    fn agree(&self) {
        let flags = &self.resolver.flags;
        assert_eq!(flags.snapshot().version, self.model.version(), "versions are dense");
        assert_eq!(self.followed.whole(), flags.whole(), "following comes to the whole");
        for owner in owners() {
            let answer = flags.resolve(owner);
            for setting in Setting::ALL {
                let expected = self.model.says(*setting, owner);
                let resolved = answer.resolved;
                assert_eq!((resolved.settings.get(*setting), resolved.layer(*setting)), expected);
                let one = flags.evaluate(*setting, owner);
                assert_eq!((one.value, one.layer), expected, "{setting} of {owner:?}");
                let followed = self.followed.evaluate(*setting, owner, Freshness::Fresh);
                assert_eq!(followed, expected, "{setting} of {owner:?}, followed");
            }
        }
        for n in 0..=TENANTS {
            self.evaluated_by_others(Some(tenant(n)));
        }
        self.evaluated_by_others(None);
    }

    /// Who evaluates the flags of a tenant in another process gets the same.
    fn evaluated_by_others(&self, of: Option<TenantId>) {
        let snapshot = self.resolver.flags.snapshot();
        let text = configuration(&snapshot, Freshness::Fresh, of);
        let flags = serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let foreign = tenant(99);
        for named in [None, of, Some(foreign)] {
            for run in (0..=RUNS).map(|r| Some(run(r))).chain([None]) {
                let tenant = named.or(of).filter(|t| of == Some(*t));
                let owner = tenant.map(|tenant| Owner { tenant, run });
                let context = Context { tenant: named, run };
                for setting in Setting::ALL {
                    let got = targeting::evaluate(&flags["flags"][setting.as_str()], context);
                    let (value, layer) = self.model.says(*setting, owner);
                    assert_eq!(got, (value, layer), "{setting} in {context:?} of {of:?}: {text}");
                }
            }
        }
    }

    async fn explained(&self, owner: Owner) {
        let explained = self.resolver.explain(owner).await.unwrap();
        assert_eq!(explained.override_version, self.model.version_of(Scope::of(owner)));
        for one in explained.settings {
            let expected = self.model.says(one.setting, Some(owner));
            assert_eq!((one.value, one.winner), expected, "{owner:?}");
            let last = one.layers.iter().rfind(|l| l.applies).unwrap();
            assert_eq!((&last.value, last.layer), (&expected.0.to_string(), expected.1));
        }
    }
}

/// Who does not listen for so long that changes are forgotten gets the whole snapshot again, and
/// then goes on with the changes.
#[tokio::test]
async fn who_lags_too_far_gets_the_whole_again() {
    let fresh = Fresh::sqlite();
    let resolver = Arc::new(Resolver::new(Settings::default_of(Environment::Staging)));
    resolver.adopt(FlagStore::open(fresh.location()).await.unwrap()).await.unwrap();
    let set = async |n: u128| {
        let value = Value::Int(u32::try_from(n % 20).unwrap() + 1);
        let terms = Terms::from([(Setting::MaxTotalAttempts, Term::of(value))]);
        let request = Request {
            scope: Scope::Tenant(tenant(n)),
            write: Write::Replace(terms),
            by: By { actor: "ann".into(), at: now(), reason: "".into() },
            origin: Origin::default(),
            if_version: None,
            dry_run: false,
            effective_at: None,
            others: Vec::new(),
        };
        resolver.write(request).await.unwrap().version
    };
    let mut listening = Box::pin(follow(Arc::clone(&resolver)));
    let mut absent = Box::pin(follow(Arc::clone(&resolver)));
    assert!(absent.next().await.unwrap().unwrap().reset);
    assert!(listening.next().await.unwrap().unwrap().reset);
    let many = NEWS_MAX as u128 + 1;
    for n in 0..many {
        let version = set(n).await;
        let told = listening.next().await.unwrap().unwrap();
        assert_eq!((told.reset, told.version, told.overrides.len()), (false, version, 1));
    }
    let whole = absent.next().await.unwrap().unwrap();
    assert!(whole.reset && whole.overrides.len() as u128 == many);
    let version = set(many).await;
    for stream in [&mut listening, &mut absent] {
        let told = stream.next().await.unwrap().unwrap();
        assert_eq!((told.reset, told.version, told.overrides.len()), (false, version, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SEQUENCES, ..ProptestConfig::default() })]
    #[test]
    fn everybody_agrees_with_a_naive_model(
        steps in proptest::collection::vec(steps(), 1..=WRITES_MAX)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Race::run(steps));
    }
}
