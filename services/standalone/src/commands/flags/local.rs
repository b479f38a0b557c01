//! Settings of this machine. Who sits at it owns its tenant and administers its platform; the audit
//! names their login.

use super::asked::{Change, Write};
use super::document::{Audited, Done, Explained, Later, Platform, Values};
use super::{Source, wire};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use meta_domain::id::TenantId;
use meta_domain::settings::{Layer, Resolved, Setting};
use meta_proto::common;
use meta_proto::convert::settings::rollouts;
use meta_proto::convert::{Number, timestamp};
use meta_proto::flags as pb;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Changes in one page at most.
const PAGE_CHANGES_MAX: u32 = 200;
/// How long a change that was due before this process began may take to be carried out.
const DUE_WAIT: Duration = Duration::from_secs(2);
/// How often that is looked at.
const DUE_POLL: Duration = Duration::from_millis(20);

/// The settings of an owner of this machine.
pub struct Here {
    client: Client,
    /// Empty for the tenant itself.
    run_id: String,
}

fn failed(what: &'static str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::status(what, &status)
}

fn misunderstood(error: impl std::fmt::Display) -> Error {
    Error::failed("the answer is not understood", error)
}

impl Here {
    /// Of the tenant, or of one of its runs.
    pub async fn new(client: &Client, tenant: Option<TenantId>, run: Option<&str>) -> Result<Self> {
        let client = client.in_tenant(tenant);
        let run_id = match run {
            Some(part) => {
                let id = crate::commands::runs::run_id(&client, part).await?;
                client.run(&id).await?.id
            }
            None => String::new(),
        };
        Ok(Self { client, run_id })
    }

    fn layer(&self) -> Layer {
        if self.run_id.is_empty() { Layer::Tenant } else { Layer::Run }
    }

    async fn explain(&self) -> Result<Explained> {
        let request = pb::ExplainRequest { run_id: self.run_id.clone() };
        let answer = self.client.flags().explain(self.client.call(request)).await;
        let answer = answer.map_err(failed("read the settings"))?.into_inner();
        wire::explained(answer, self.layer()).map_err(misunderstood)
    }

    fn options(write: &Write) -> Option<pb::WriteOptions> {
        Some(pb::WriteOptions {
            if_version: write.if_version,
            dry_run: write.dry_run,
            effective_at: write.at.map(timestamp),
            reason: write.reason.clone(),
        })
    }

    async fn write_owner(&self, write: &Write) -> Result<Option<pb::WriteOutcome>> {
        let (run_id, options) = (self.run_id.clone(), Self::options(write));
        let mut flags = self.client.flags();
        Ok(match &write.change {
            Change::Clear(settings) => {
                let settings = names(settings);
                let request = pb::ClearOverridesRequest { run_id, settings, options };
                let answer = flags.clear_overrides(self.client.call(request)).await;
                answer.map_err(failed("reset the settings"))?.into_inner().outcome
            }
            Change::Set(_) | Change::Roll(_) => {
                let overrides = values(&write.change);
                let request = pb::SetOverridesRequest { run_id, overrides, patch: true, options };
                let answer = flags.set_overrides(self.client.call(request)).await;
                answer.map_err(failed("change the settings"))?.into_inner().outcome
            }
        })
    }

    async fn write_platform(
        &self,
        layer: Layer,
        write: &Write,
    ) -> Result<Option<pb::WriteOutcome>> {
        let (layer, options) = (layer.number(), Self::options(write));
        let client = self.client.as_platform_admin();
        let mut flags = client.flags();
        let tenant_ids = vec![client.tenant().to_string()];
        Ok(match &write.change {
            Change::Clear(settings) => {
                let settings = names(settings);
                let request = pb::ClearPlatformRequest { layer, settings, options, tenant_ids };
                let answer = flags.clear_platform(client.call(request)).await;
                answer.map_err(failed("reset the platform's settings"))?.into_inner().outcome
            }
            Change::Set(_) | Change::Roll(_) => {
                let rolled = match &write.change {
                    Change::Roll(all) => rollouts(all),
                    Change::Set(_) | Change::Clear(_) => Vec::new(),
                };
                let request = pb::SetPlatformRequest {
                    layer,
                    overrides: values(&write.change),
                    rollouts: rolled,
                    patch: true,
                    options,
                    tenant_ids,
                };
                let answer = flags.set_platform(client.call(request)).await;
                answer.map_err(failed("change the platform's settings"))?.into_inner().outcome
            }
        })
    }
}

fn names(settings: &[Setting]) -> Vec<String> {
    settings.iter().map(|s| s.as_str().to_owned()).collect()
}

fn values(change: &Change) -> Option<common::Overrides> {
    match change {
        Change::Set(overrides) => Some((*overrides).into()),
        Change::Roll(_) | Change::Clear(_) => None,
    }
}

impl Source for Here {
    /// What became due while nothing worked on this folder is carried out first.
    async fn explained(&self) -> Result<Explained> {
        let settled = async {
            loop {
                let found = self.explain().await?;
                let now = meta_runtime::now().to_string();
                let due = |at: &Option<String>| at.as_ref().is_some_and(|at| *at <= now);
                if !found.scheduled.iter().any(|s| due(&s.effective_at)) {
                    return Ok(found);
                }
                tokio::time::sleep(DUE_POLL).await;
            }
        };
        match tokio::time::timeout(DUE_WAIT, settled).await {
            Ok(found) => found,
            Err(_) => self.explain().await,
        }
    }

    async fn platform(&self) -> Result<Platform> {
        let client = self.client.as_platform_admin();
        let answer = client.flags().get_platform(client.call(pb::GetPlatformRequest {})).await;
        let answer = answer.map_err(failed("read the platform's settings"))?;
        wire::platform(answer.into_inner()).map_err(misunderstood)
    }

    async fn write(&self, write: &Write) -> Result<Done> {
        let outcome = match write.platform {
            Some(layer) => self.write_platform(layer, write).await?,
            None => self.write_owner(write).await?,
        };
        let outcome = outcome.unwrap_or_default();
        if write.dry_run {
            return Ok(Done::Imagined(wire::dry_run(outcome)));
        }
        if !outcome.scheduled_id.is_empty() {
            let effective_at = write.at.map(|at| at.to_string());
            let id = outcome.scheduled_id;
            return Ok(Done::Scheduled(Later { status: "scheduled", id, effective_at }));
        }
        Ok(match write.platform {
            Some(_) => Done::Platform(self.platform().await?),
            None => Done::Owner(self.explained().await?),
        })
    }

    async fn history(
        &self,
        platform: bool,
        setting: Option<Setting>,
        limit: u32,
    ) -> Result<Vec<Audited>> {
        let setting = setting.map(|s| s.as_str().to_owned()).unwrap_or_default();
        let client = if platform { self.client.as_platform_admin() } else { self.client.clone() };
        let mut flags = client.flags();
        let (mut all, mut page_token) = (Vec::new(), String::new());
        let mut left = limit;
        while left > 0 {
            let (page_size, setting) = (left.min(PAGE_CHANGES_MAX), setting.clone());
            let (changes, next) = if platform {
                let request = pb::ListPlatformChangesRequest { page_size, setting, page_token };
                let answer = flags.list_platform_changes(client.call(request)).await;
                let page = answer.map_err(failed("read the history"))?.into_inner();
                (page.changes, page.next_page_token)
            } else {
                let run_id = self.run_id.clone();
                let request = pb::ListChangesRequest { run_id, page_size, setting, page_token };
                let answer = flags.list_changes(client.call(request)).await;
                let page = answer.map_err(failed("read the history"))?.into_inner();
                (page.changes, page.next_page_token)
            };
            left = left.saturating_sub(u32::try_from(changes.len()).unwrap_or(left));
            for change in changes {
                all.push(wire::changed(change).map_err(misunderstood)?);
            }
            if next.is_empty() {
                break;
            }
            page_token = next;
        }
        Ok(all)
    }

    async fn unschedule(&self, id: &str, platform: bool) -> Result<u64> {
        let (what, id) = ("take the change back", id.to_owned());
        if platform {
            let client = self.client.as_platform_admin();
            let request = client.call(pb::CancelPlatformScheduledRequest { id });
            let answer = client.flags().cancel_platform_scheduled(request).await;
            return Ok(answer.map_err(failed(what))?.into_inner().version);
        }
        let request = self.client.call(pb::CancelScheduledRequest { id });
        let answer = self.client.flags().cancel_scheduled(request).await;
        Ok(answer.map_err(failed(what))?.into_inner().version)
    }

    async fn watch(
        &self,
        session: &Session,
        mut each: impl FnMut(&Values) -> Result<()>,
    ) -> Result<()> {
        let request = self.client.call(pb::WatchRequest { run_id: self.run_id.clone() });
        let answer = self.client.flags().watch(request).await;
        let mut stream = answer.map_err(failed("watch the settings"))?.into_inner();
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = session.stop.cancelled() => return Ok(()),
            };
            let Some(answer) = next else {
                return Err(Error::failed("cannot watch the settings", "the stream ended"));
            };
            let answer = answer.map_err(failed("watch the settings"))?;
            let resolved = Resolved::try_from(answer.resolved.unwrap_or_default());
            let resolved = resolved.map_err(misunderstood)?;
            each(&Values::of(&resolved, answer.version, answer.stale, answer.stale_ms))?;
        }
    }
}
