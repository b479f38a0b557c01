//! `metabuilder tenants` and `metabuilder users`: of a server; this machine has one of each.

use crate::args::{Output, TenantsCommand, UsersCommand};
use crate::display::{print, print_json};
use crate::error::{Error, Exit, Result};
use crate::rest::Rest;
use crate::session::Session;
use reqwest::Method;
use serde_json::json;

fn rest(session: &Session) -> Result<Rest> {
    let server = session.server()?.ok_or_else(|| {
        Error::usage("METABUILDER_URL is not set", "tenants and users live on a server")
            .next("start one with `metabuilder up`, then set METABUILDER_URL and METABUILDER_TOKEN")
    })?;
    Rest::new(&server)
}

/// Creates a tenant.
pub async fn create(command: TenantsCommand, session: &Session) -> Result<Exit> {
    let TenantsCommand::Create { name, output } = command;
    let body = json!({ "name": name });
    let answer = rest(session)?.send(Method::POST, "/tenants", Some(&body)).await?;
    match output.output {
        Output::Json => print_json(&answer["data"])?,
        Output::Text => print(answer["data"]["id"].as_str().unwrap_or_default())?,
    }
    Ok(Exit::Done)
}

/// Creates a user of a tenant.
pub async fn add_user(command: UsersCommand, session: &Session) -> Result<Exit> {
    let UsersCommand::Add { tenant, email, role, output } = command;
    let body = json!({ "email": email, "role": role.as_str() });
    let path = format!("/tenants/{tenant}/users");
    let answer = rest(session)?.send(Method::POST, &path, Some(&body)).await?;
    match output.output {
        Output::Json => print_json(&answer["data"])?,
        Output::Text => {
            let key = answer["data"]["attributes"]["api_key"].as_str().unwrap_or_default();
            eprintln!("the API key of {email}; it is shown only now:");
            print(key)?;
        }
    }
    Ok(Exit::Done)
}
