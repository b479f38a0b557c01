//! Settings of a server, over its REST API.

use super::Source;
use super::asked::{Change, Write};
use super::document::{Audited, Done, Explained, Imagined, Later, Platform, Values, segment};
use crate::error::{Error, Result};
use crate::rest::Rest;
use crate::session::Session;
use meta_domain::id::TenantId;
use meta_domain::settings::Setting;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// How often a server is asked for changes.
const POLL: Duration = Duration::from_secs(1);
/// Changes in one page at most.
const PAGE_CHANGES_MAX: u32 = 100;
const PLATFORM: &str = "/settings/platform";

/// The settings of an owner on a server.
pub struct There {
    rest: Rest,
    /// Where the tenant's settings are.
    tenant: String,
    /// Where the owner's settings are.
    owner: String,
}

impl There {
    /// Of the tenant, or of one of its runs.
    pub async fn new(rest: Rest, tenant: Option<TenantId>, run: Option<&str>) -> Result<Self> {
        let tenant = match tenant {
            Some(tenant) => tenant.to_string(),
            None => rest.tenant().await?,
        };
        let tenant = format!("/tenants/{tenant}/settings");
        let owner = match run {
            Some(part) => format!("/runs/{}/settings", rest.run_id(part).await?),
            None => tenant.clone(),
        };
        Ok(Self { rest, tenant, owner })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.rest.get(path).await?["data"]["attributes"])
    }
}

fn read<T: DeserializeOwned>(attributes: &Value) -> Result<T> {
    T::deserialize(attributes).map_err(|e| Error::failed("the answer is not understood", e))
}

/// A query; parameters without a value are left out.
fn query(parameters: &[(&str, Option<String>)]) -> String {
    let mut query = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            for byte in value.bytes() {
                match byte {
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        query.push(char::from(byte));
                    }
                    other => write!(query, "%{other:02X}").expect("a String takes all"),
                }
            }
        }
    }
    query
}

fn asked(write: &Write) -> String {
    let cleared = match &write.change {
        Change::Clear(settings) if !settings.is_empty() => {
            Some(settings.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(","))
        }
        Change::Clear(_) | Change::Set(_) | Change::Roll(_) => None,
    };
    query(&[
        ("settings", cleared),
        ("if_version", write.if_version.map(|v| v.to_string())),
        ("dry_run", write.dry_run.then(|| "true".to_owned())),
        ("effective_at", write.at.map(|at| at.to_string())),
        ("reason", Some(write.reason.clone()).filter(|r| !r.is_empty())),
    ])
}

impl Source for There {
    async fn explained(&self) -> Result<Explained> {
        self.get(&self.owner).await
    }

    async fn platform(&self) -> Result<Platform> {
        self.get(PLATFORM).await
    }

    async fn write(&self, write: &Write) -> Result<Done> {
        let place = match write.platform {
            Some(layer) => format!("{PLATFORM}/{}", segment(layer)),
            None => self.owner.clone(),
        };
        let path = format!("{place}{}", asked(write));
        let (method, body) = match &write.change {
            Change::Set(overrides) => (Method::PATCH, Some(json!(overrides))),
            Change::Roll(rollouts) => (Method::PATCH, Some(json!(rollouts))),
            Change::Clear(_) => (Method::DELETE, None),
        };
        let document = self.rest.send(method, &path, body.as_ref()).await?;
        let data = &document["data"];
        let attributes = &data["attributes"];
        Ok(match data["type"].as_str().unwrap_or_default() {
            "settings_dry_run" => Done::Imagined(read::<Imagined>(attributes)?),
            "scheduled_change" => Done::Scheduled(Later {
                status: "scheduled",
                id: data["id"].as_str().unwrap_or_default().to_owned(),
                effective_at: attributes["effective_at"].as_str().map(ToOwned::to_owned),
            }),
            "platform_settings" => Done::Platform(read(attributes)?),
            _ => Done::Owner(read(attributes)?),
        })
    }

    async fn history(
        &self,
        platform: bool,
        setting: Option<Setting>,
        limit: u32,
    ) -> Result<Vec<Audited>> {
        let place = if platform { PLATFORM } else { &self.owner };
        let mut all: Vec<Audited> = Vec::new();
        let mut token = None;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        while all.len() < wanted {
            let left = u32::try_from(wanted - all.len()).unwrap_or(limit);
            let query = query(&[
                ("setting", setting.map(|s| s.as_str().to_owned())),
                ("per_page", Some(left.min(PAGE_CHANGES_MAX).to_string())),
                ("page_token", token.take()),
            ]);
            let document = self.rest.get(&format!("{place}/history{query}")).await?;
            for one in document["data"].as_array().into_iter().flatten() {
                all.push(read(&one["attributes"])?);
            }
            match document["meta"]["next_page_token"].as_str() {
                Some(next) => token = Some(next.to_owned()),
                None => break,
            }
        }
        Ok(all)
    }

    async fn unschedule(&self, id: &str, platform: bool) -> Result<u64> {
        let place = if platform { PLATFORM } else { &self.tenant };
        let path = format!("{place}/scheduled/{id}");
        let document = self.rest.send(Method::DELETE, &path, None).await?;
        Ok(document["data"]["attributes"]["version"].as_u64().unwrap_or_default())
    }

    /// Asks again and again. A server that was there and is away for a moment is waited for.
    async fn watch(
        &self,
        session: &Session,
        mut each: impl FnMut(&Values) -> Result<()>,
    ) -> Result<()> {
        let mut last: Option<Values> = None;
        let mut away = false;
        while !session.stop.is_cancelled() {
            let found = tokio::select! {
                found = self.explained() => found,
                () = session.stop.cancelled() => return Ok(()),
            };
            match found {
                Ok(found) => {
                    away = false;
                    let values = Values::from(&found);
                    if !last.as_ref().is_some_and(|last| last.says_the_same(&values)) {
                        each(&values)?;
                        last = Some(values);
                    }
                }
                Err(error) if last.is_none() || !error.may_pass => return Err(error),
                Err(error) if !away => {
                    eprintln!("metabuilder: {error}; watching on");
                    away = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = session.stop.cancelled() => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::time::Timestamp;

    #[test]
    fn a_change_is_asked_for_in_the_query() {
        let write = Write {
            change: Change::Clear(vec![Setting::AutofixEnabled, Setting::MaxTotalAttempts]),
            platform: None,
            if_version: Some(0),
            dry_run: true,
            at: Some(Timestamp(1_800_000_000_000)),
            reason: "so & so: 100 % ü".to_owned(),
        };
        assert_eq!(
            asked(&write),
            "?settings=autofix_enabled%2Cmax_total_attempts&if_version=0&dry_run=true\
             &effective_at=2027-01-15T08%3A00%3A00.000Z&reason=so%20%26%20so%3A%20100%20%25%20%C3%BC"
        );
        let plain = Write {
            change: Change::Clear(Vec::new()),
            if_version: None,
            dry_run: false,
            at: None,
            reason: String::new(),
            ..write
        };
        assert_eq!(asked(&plain), "");
    }
}
