//! `metabuilder keys` and `metabuilder audit`: of a server.

use crate::args::{AuditCommand, KeysCommand, Noted, OfTenant, Output};
use crate::display::table::table;
use crate::display::{print, print_json};
use crate::error::{Error, Exit, Result};
use crate::rest::Rest;
use crate::row;
use crate::session::Session;
use reqwest::Method;
use serde_json::{Value, json};

/// Things on one page of an answer.
const PAGE: u32 = 100;

fn rest(session: &Session, what: &str) -> Result<Rest> {
    let server = session.server()?.ok_or_else(|| {
        Error::usage("METABUILDER_URL is not set", format!("{what} lives on a server"))
            .next("start one with `metabuilder up`, then set METABUILDER_URL and METABUILDER_TOKEN")
    })?;
    Rest::new(&server)
}

async fn keys_of(rest: &Rest, of: &OfTenant) -> Result<String> {
    let tenant = match of.tenant {
        Some(tenant) => tenant.to_string(),
        None => rest.tenant().await?,
    };
    Ok(format!("/tenants/{tenant}/keys"))
}

/// Up to `limit` things of a list, page by page.
async fn listed(rest: &Rest, path: &str, limit: usize) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let join = if path.contains('?') { '&' } else { '?' };
        let page = format!("{path}{join}per_page={PAGE}{token}");
        let document = rest.get(&page).await?;
        found.extend(document["data"].as_array().cloned().unwrap_or_default());
        match document["meta"]["next_page_token"].as_str() {
            Some(next) if found.len() < limit => token = format!("&page_token={next}"),
            _ => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.is_empty() => "all".to_owned(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The API keys of a tenant.
pub async fn keys(command: KeysCommand, session: &Session) -> Result<Exit> {
    let rest = rest(session, "a key")?;
    match command {
        KeysCommand::Ls { of, output } => {
            let found = listed(&rest, &keys_of(&rest, &of).await?, usize::MAX).await?;
            match output.output {
                Output::Json => print_json(&Value::Array(found))?,
                Output::Text => print(&key_table(&found))?,
            }
        }
        KeysCommand::Create { name, role, scopes, expires, of, output } => {
            let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let mut body = json!({ "name": name, "role": role, "scopes": scopes });
            if let Some(expires) = expires {
                body["expires_at"] = expires.into();
            }
            let path = keys_of(&rest, &of).await?;
            let made = rest.send(Method::POST, &path, Some(&body)).await?;
            match output.output {
                Output::Json => print_json(&made["data"])?,
                Output::Text => {
                    let id = shown(&made["data"]["id"]);
                    eprintln!("key {id} ({role}); it is shown only now:");
                    print(&shown(&made["data"]["attributes"]["api_key"]))?;
                }
            }
        }
        KeysCommand::Revoke { id, of, output } => {
            let path = format!("{}/{id}", keys_of(&rest, &of).await?);
            let ended = rest.send(Method::DELETE, &path, None).await?;
            match output.output {
                Output::Json => print_json(&ended["data"])?,
                Output::Text => {
                    let at = shown(&ended["data"]["attributes"]["revoked_at"]);
                    print(&format!("key {id} is ended since {at}"))?;
                }
            }
        }
    }
    Ok(Exit::Done)
}

fn key_table(keys: &[Value]) -> String {
    let mut rows = vec![row!["ID", "NAME", "ROLE", "SCOPES", "FOR", "LAST USED", "STATE"]];
    for key in keys {
        let about = &key["attributes"];
        let state = match (&about["revoked_at"], &about["expires_at"]) {
            (Value::String(at), _) => format!("ended {at}"),
            (_, Value::String(at)) => format!("until {at}"),
            _ => "in force".to_owned(),
        };
        let cells = ["name", "role", "scopes", "actor", "last_used_at"].map(|n| shown(&about[n]));
        let mut row = vec![shown(&key["id"])];
        row.extend(cells);
        row.push(state);
        rows.push(row);
    }
    table(&rows)
}

/// Who did what in a tenant.
pub async fn audit(command: AuditCommand, session: &Session) -> Result<Exit> {
    let rest = rest(session, "the audit")?;
    match command {
        AuditCommand::Ls { action, limit, output } => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
            if !action.chars().all(plain) {
                let expected = "expected letters, dots and underscores, such as key.created";
                return Err(Error::usage(format!("--action {action:?} is none"), expected));
            }
            let path = match action.as_str() {
                "" => "/audit".to_owned(),
                action => format!("/audit?action={action}"),
            };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let found = listed(&rest, &path, limit).await?;
            match output.output {
                Output::Json => print_json(&Value::Array(found))?,
                Output::Text => print(&audit_table(&found))?,
            }
            Ok(Exit::Done)
        }
        AuditCommand::Verify { known, output } => {
            let path = match known {
                None => "/audit/verify".to_owned(),
                Some(Noted { seq, hash }) => {
                    format!("/audit/verify?known_seq={seq}&known_hash={hash}")
                }
            };
            let found = rest.get(&path).await?;
            let about = &found["data"]["attributes"];
            let problems = about["problems"].as_array().cloned().unwrap_or_default();
            match output.output {
                Output::Json => print_json(about)?,
                Output::Text => {
                    let (entries, head) = (shown(&about["entries"]), shown(&about["head_hash"]));
                    for problem in &problems {
                        print(&shown(problem))?;
                    }
                    let word = if problems.is_empty() { "whole" } else { "CHANGED" };
                    print(&format!("{entries} entries, {word}; to be noted: {entries}:{head}"))?;
                }
            }
            Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
        }
    }
}

fn audit_table(entries: &[Value]) -> String {
    let mut rows = vec![row!["AT", "ACTION", "ACTOR", "OBJECT", "REASON"]];
    for entry in entries {
        let about = &entry["attributes"];
        let denied = if about["denied"] == true { "refused: " } else { "" };
        rows.push(row![
            shown(&about["at"]),
            format!("{denied}{}", shown(&about["action"])),
            shown(&about["actor"]),
            shown(&about["object"]),
            shown(&about["reason"]),
        ]);
    }
    table(&rows)
}
