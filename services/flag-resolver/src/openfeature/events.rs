//! What clients that evaluate here are told: that we are there, and which flags changed.

use super::About;
use crate::held::News;
use crate::resolver::{Resolver, stopping};
use futures::{Stream, stream};
use meta_domain::settings::Setting;
use meta_proto::status::to_status;
use prost_types::value::Kind;
use prost_types::{Struct, Value as Attr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tonic::Status;

/// How often an idle stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A type and its data, or the end. Clients follow again only after an error, so there is no
/// other end.
pub(super) type Event = Result<(&'static str, Option<Struct>), Status>;

/// `provider_ready`, then every change that concerns `about`.
pub(super) fn events(resolver: Arc<Resolver>, about: About) -> impl Stream<Item = Event> {
    let (_, news) = resolver.follow();
    let teller = Teller { resolver, about, news, greeted: false };
    stream::unfold(Some(teller), |teller| async {
        let mut teller = teller?;
        let event = teller.next().await;
        let rest = event.is_ok().then_some(teller);
        Some((event, rest))
    })
}

struct Teller {
    resolver: Arc<Resolver>,
    about: About,
    news: broadcast::Receiver<Arc<News>>,
    greeted: bool,
}

impl Teller {
    async fn next(&mut self) -> Event {
        if !std::mem::replace(&mut self.greeted, true) {
            return Ok(("provider_ready", Some(Struct::default())));
        }
        let ending = self.resolver.ending();
        let keep_alive = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(keep_alive);
        loop {
            let news = tokio::select! {
                () = ending.cancelled() => return Err(to_status(&stopping())),
                () = &mut keep_alive => return Ok(("keep_alive", None)),
                news = self.news.recv() => news,
            };
            let changed = match news {
                Ok(news) => changed(&news, self.about),
                Err(RecvError::Lagged(_)) => Setting::ALL.iter().copied().collect(),
                Err(RecvError::Closed) => return Err(to_status(&stopping())),
            };
            if !changed.is_empty() {
                return Ok(("configuration_change", Some(data(&changed))));
            }
        }
    }
}

/// The settings in which news concern somebody.
pub(super) fn changed(news: &News, about: About) -> BTreeSet<Setting> {
    if news.change.reset {
        return Setting::ALL.iter().copied().collect();
    }
    let concerns = |scope: crate::core::scope::Scope| match about {
        About::All => true,
        About::Platform => scope.owner().is_none(),
        About::Tenant(tenant) => scope.concerns(tenant),
    };
    let touched = news.touched.iter().filter(|(scope, _)| concerns(*scope));
    touched.flat_map(|(_, settings)| settings.iter().copied()).collect()
}

fn data(changed: &BTreeSet<Setting>) -> Struct {
    let object = |fields| Attr { kind: Some(Kind::StructValue(Struct { fields })) };
    let one = |name: &str, value: Attr| BTreeMap::from([(name.to_owned(), value)]);
    let update = || Attr { kind: Some(Kind::StringValue("update".to_owned())) };
    let flags = changed.iter().map(|s| (s.as_str().to_owned(), object(one("type", update()))));
    Struct { fields: one("flags", object(flags.collect())) }
}
