//! `metabuilder flags`: the settings of the auto-fix loop, here or on a server.

use crate::args::{FlagsArgs, FlagsCommand, Output};
use crate::caller::LOCAL_TENANT;
use crate::client::Client;
use crate::display::{print, print_json, table::table};
use crate::error::{Error, Exit, Result};
use crate::rest::Rest;
use crate::row;
use crate::session::{Local, Session};
use meta_domain::settings::{Layer, Overrides, Resolved};
use meta_proto::convert::{instant, word};
use meta_proto::flags as pb;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_stream::StreamExt;

/// How often a server is asked for changes.
const POLL: Duration = Duration::from_secs(1);
/// Changes shown at most.
const CHANGES_MAX: u32 = 50;

/// Carries out a command about settings.
pub async fn run(command: FlagsCommand, session: &Session) -> Result<Exit> {
    if let Some(server) = session.server()? {
        return remote(command, &Rest::new(&server)?, session).await;
    }
    let local = Local::open(session).await?;
    here(command, &local.reader().await?, session).await
}

/// Reads `name=value` pairs.
fn overrides(pairs: &[String]) -> Result<Overrides> {
    let mut fields = serde_json::Map::new();
    let mut faults = Vec::new();
    for pair in pairs {
        let Some((name, value)) = pair.split_once('=') else {
            faults.push(format!("{pair:?} has no '=' (expected name=value)"));
            continue;
        };
        let parsed = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let one = serde_json::Map::from_iter([(name.to_owned(), parsed.clone())]);
        match serde_json::from_value::<Overrides>(one.into()) {
            Ok(_) => {
                fields.insert(name.to_owned(), parsed);
            }
            Err(error) => faults.push(format!("{pair}: {error}")),
        }
    }
    let read = serde_json::from_value::<Overrides>(fields.into());
    let read = read.map_err(|e| Error::usage("the settings are not valid", e))?;
    faults.extend(read.check().err().into_iter().flatten().map(|f| f.to_string()));
    if faults.is_empty() {
        return Ok(read);
    }
    let what = "the settings are not valid".to_owned();
    Err(Error { what, why: faults, next: String::new(), exit: Exit::Usage })
}

async fn here(command: FlagsCommand, client: &Client, session: &Session) -> Result<Exit> {
    let failed = |what: &'static str| move |s: tonic::Status| Error::status(what, &s);
    let mut flags = client.flags();
    match command {
        FlagsCommand::Get(of) => {
            let run_id = run_of(client, &of).await?;
            let answer = flags.resolve(client.call(pb::ResolveRequest { run_id })).await;
            show(answer.map_err(failed("read the settings"))?.into_inner().resolved, &of)?;
        }
        FlagsCommand::Set { pairs, of } => {
            let overrides = Some(overrides(&pairs)?.into());
            let run_id = run_of(client, &of).await?;
            let request = pb::SetOverridesRequest { run_id, overrides, patch: true };
            let answer = flags.set_overrides(client.call(request)).await;
            show(answer.map_err(failed("change the settings"))?.into_inner().resolved, &of)?;
        }
        FlagsCommand::Reset(of) => {
            let run_id = run_of(client, &of).await?;
            let request = pb::ClearOverridesRequest { run_id };
            let answer = flags.clear_overrides(client.call(request)).await;
            show(answer.map_err(failed("reset the settings"))?.into_inner().resolved, &of)?;
        }
        FlagsCommand::Explain(of) => {
            let run_id = run_of(client, &of).await?;
            let answer = flags.explain(client.call(pb::ExplainRequest { run_id })).await;
            explain(&answer.map_err(failed("explain the settings"))?.into_inner(), &of)?;
        }
        FlagsCommand::Watch(of) => {
            let run_id = run_of(client, &of).await?;
            let answer = flags.watch(client.call(pb::WatchRequest { run_id })).await;
            let mut stream = answer.map_err(failed("watch the settings"))?.into_inner();
            loop {
                let next = tokio::select! {
                    next = stream.next() => next,
                    () = session.stop.cancelled() => return Ok(Exit::Interrupted),
                };
                let Some(answer) = next else { break };
                show(answer.map_err(failed("watch the settings"))?.resolved, &of)?;
            }
        }
        FlagsCommand::History(of) => {
            let run_id = run_of(client, &of).await?;
            let request = pb::ListChangesRequest { run_id, page_size: CHANGES_MAX };
            let answer = flags.list_changes(client.call(request)).await;
            history(answer.map_err(failed("read the history"))?.into_inner().changes, &of)?;
        }
    }
    Ok(Exit::Done)
}

async fn run_of(client: &Client, of: &FlagsArgs) -> Result<String> {
    match &of.run {
        Some(run) => super::runs::run_id(client, run).await,
        None => Ok(String::new()),
    }
}

fn misunderstood(error: impl std::fmt::Display) -> Error {
    Error::failed("the answer is not understood", error)
}

fn show(resolved: Option<meta_proto::common::ResolvedSettings>, of: &FlagsArgs) -> Result<()> {
    let resolved = Resolved::try_from(resolved.unwrap_or_default()).map_err(misunderstood)?;
    let settings = resolved.settings;
    let rows: [(&str, Value, Layer); 4] = [
        ("autofix_enabled", settings.autofix_enabled.into(), resolved.autofix_enabled_layer),
        (
            "max_total_attempts",
            settings.max_total_attempts.into(),
            resolved.max_total_attempts_layer,
        ),
        (
            "max_per_step_attempts",
            settings.max_per_step_attempts.into(),
            resolved.max_per_step_attempts_layer,
        ),
        (
            "backoff_cap_seconds",
            settings.backoff_cap_seconds.into(),
            resolved.backoff_cap_seconds_layer,
        ),
    ];
    let values = rows.map(|(name, value, layer)| (name.to_owned(), value, layer.to_string()));
    print_values(&values, of.output.output)
}

fn print_values(values: &[(String, Value, String)], output: Output) -> Result<()> {
    match output {
        Output::Json => {
            let fields = values
                .iter()
                .map(|(n, v, l)| (n.clone(), json!({ "value": v, "layer": l })))
                .collect::<serde_json::Map<_, _>>();
            print_json(&fields)?;
        }
        Output::Text => {
            let mut rows = vec![row!["SETTING", "VALUE", "FROM"]];
            rows.extend(values.iter().map(|(n, v, l)| row![n, v, l]));
            print(&table(&rows))?;
        }
    }
    Ok(())
}

fn explain(answer: &pb::ExplainResponse, of: &FlagsArgs) -> Result<()> {
    let mut rows = vec![row!["SETTING", "LAYER", "VALUE", "WINS", "SET BY", "AT"]];
    for setting in &answer.settings {
        for layer in &setting.layers {
            let name: Layer = word("layer", layer.layer).map_err(misunderstood)?;
            let wins = if layer.layer == setting.winner { "yes" } else { "" };
            let at = layer.set_at.as_ref().map(|t| instant(t).to_string()).unwrap_or_default();
            rows.push(row![setting.name, name, layer.value, wins, layer.author, at]);
        }
    }
    print_rows(&rows, of.output.output)
}

fn history(changes: Vec<pb::Change>, of: &FlagsArgs) -> Result<()> {
    let mut rows = vec![row!["AT", "WHO", "RUN", "BEFORE", "AFTER"]];
    for change in changes {
        let at = change.changed_at.as_ref().map(|t| instant(t).to_string()).unwrap_or_default();
        let text = |o: Option<meta_proto::common::Overrides>| {
            json!(Overrides::from(o.unwrap_or_default())).to_string()
        };
        rows.push(row![at, change.actor, change.run_id, text(change.before), text(change.after)]);
    }
    print_rows(&rows, of.output.output)
}

/// Prints rows as a table, or as one JSON array of objects named by the heading.
fn print_rows(rows: &[Vec<String>], output: Output) -> Result<()> {
    let Some((heading, body)) = rows.split_first() else { return Ok(()) };
    match output {
        Output::Text => print(&table(rows))?,
        Output::Json => {
            let named = |row: &Vec<String>| {
                let name = |h: &String| h.to_lowercase().replace(' ', "_");
                let cells = heading.iter().map(name).zip(row.iter().cloned().map(Value::from));
                cells.collect::<serde_json::Map<_, _>>()
            };
            print_json(&body.iter().map(named).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Where a server keeps the settings of a tenant or a run.
async fn place(rest: &Rest, of: &FlagsArgs, session: &Session) -> Result<String> {
    if let Some(run) = &of.run {
        return Ok(format!("/runs/{}/settings", rest.run_id(run).await?));
    }
    let local = LOCAL_TENANT.to_string();
    let tenant = session.vars.get("METABUILDER_TENANT").cloned().unwrap_or(local);
    Ok(format!("/tenants/{tenant}/settings"))
}

async fn remote(command: FlagsCommand, rest: &Rest, session: &Session) -> Result<Exit> {
    match command {
        FlagsCommand::Get(of) => {
            let document = rest.get(&place(rest, &of, session).await?).await?;
            print_values(&values(&document), of.output.output)?;
        }
        FlagsCommand::Set { pairs, of } => {
            let body = json!(overrides(&pairs)?);
            let path = place(rest, &of, session).await?;
            let document = rest.send(Method::PATCH, &path, Some(&body)).await?;
            print_values(&values(&document), of.output.output)?;
        }
        FlagsCommand::Reset(of) => {
            let path = place(rest, &of, session).await?;
            let document = match of.run {
                Some(_) => rest.send(Method::PUT, &path, Some(&json!({}))).await?,
                None => rest.send(Method::DELETE, &path, None).await?,
            };
            print_values(&values(&document), of.output.output)?;
        }
        FlagsCommand::Explain(of) => {
            let document = rest.get(&place(rest, &of, session).await?).await?;
            print_rows(&layers(&document), of.output.output)?;
        }
        FlagsCommand::Watch(of) => {
            let path = place(rest, &of, session).await?;
            let mut version = Value::Null;
            while !session.stop.is_cancelled() {
                let document = rest.get(&path).await?;
                let now = &document["data"]["attributes"]["version"];
                if *now != version {
                    version = now.clone();
                    print_values(&values(&document), of.output.output)?;
                }
                tokio::select! {
                    () = tokio::time::sleep(POLL) => {}
                    () = session.stop.cancelled() => {}
                }
            }
            return Ok(Exit::Interrupted);
        }
        FlagsCommand::History(_) => {
            return Err(Error::usage(
                "a server does not tell its history of settings over REST",
                "only this machine's history can be shown",
            )
            .next("see who set what now: metabuilder flags explain"));
        }
    }
    Ok(Exit::Done)
}

fn resolved(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["data"]["attributes"]["resolved"].as_object().into_iter().flatten()
}

fn values(document: &Value) -> Vec<(String, Value, String)> {
    let layer = |s: &Value| s["layer"].as_str().unwrap_or_default().to_owned();
    resolved(document).map(|(n, s)| (n.clone(), s["value"].clone(), layer(s))).collect()
}

fn layers(document: &Value) -> Vec<Vec<String>> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned);
    let known = |v: &Value| if v.is_null() { String::new() } else { text(v) };
    let mut rows = vec![row!["SETTING", "LAYER", "VALUE", "WINS", "SET BY", "AT"]];
    for (name, setting) in resolved(document) {
        for layer in setting["layers"].as_array().into_iter().flatten() {
            let wins = if layer["layer"] == setting["layer"] { "yes" } else { "" };
            let (author, at) = (known(&layer["author"]), known(&layer["set_at"]));
            rows.push(row![name, text(&layer["layer"]), text(&layer["value"]), wins, author, at]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[&str]) -> Result<Overrides> {
        overrides(&pairs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn pairs_become_overrides() {
        let read = read(&["autofix_enabled=false", "max_total_attempts=8"]).unwrap();
        assert_eq!((read.autofix_enabled, read.max_total_attempts), (Some(false), Some(8)));
        assert_eq!(read.backoff_cap_seconds, None);
    }

    #[test]
    fn every_bad_pair_is_named() {
        let error = read(&["a", "colour=red", "max_total_attempts=many", "backoff_cap_seconds=9"])
            .unwrap_err();
        let text = error.to_string();
        for part in
            ["\"a\" has no '='", "colour=red", "max_total_attempts=many", "9 is out of range"]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert_eq!(error.exit, Exit::Usage);
    }

    #[test]
    fn a_servers_settings_are_read() {
        let document = json!({ "data": { "attributes": { "version": 3, "resolved": {
            "max_total_attempts": { "value": 8, "layer": "tenant", "layers": [
                { "layer": "platform", "value": 10, "author": null, "set_at": null },
                { "layer": "tenant", "value": 8, "author": "a", "set_at": "t" },
            ] },
        } } } });
        assert_eq!(values(&document), [("max_total_attempts".into(), json!(8), "tenant".into())]);
        assert_eq!(layers(&document)[2], ["max_total_attempts", "tenant", "8", "yes", "a", "t"]);
    }
}
