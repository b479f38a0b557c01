//! `metabuilder flags` and `metabuilder up --flagd` as people use them: every command on this
//! machine and against a server, and bad input.

use anyhow::{Context, Result, ensure};
use meta_proto::flagd::evaluation::v2 as flagd;
use meta_proto::flagd::evaluation::v2::service_client::ServiceClient;
use meta_tests::processes::{Ended, Process, Up, metabuilder};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

const LOCAL: &str = "00000000-0000-7000-8000-000000000001";
const OTHER: &str = "00000000-0000-7000-8000-000000000002";

/// Somebody at a shell.
struct Shell {
    folder: TempDir,
    vars: Vec<(&'static str, String)>,
}

impl Shell {
    /// Who works on this machine.
    fn here() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data").to_str().context("a plain path")?.to_owned();
        Ok(Self { folder, vars: vec![("METABUILDER_DATA", data), ("USER", "ada".to_owned())] })
    }

    /// Who works with a server.
    fn at(url: &str, key: &str) -> Result<Self> {
        let vars = vec![("METABUILDER_URL", url.to_owned()), ("METABUILDER_TOKEN", key.to_owned())];
        Ok(Self { folder: tempfile::tempdir()?, vars })
    }

    fn vars(&self) -> Vec<(&str, &str)> {
        self.vars.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn run(&self, line: &str) -> Result<Ended> {
        self.run_words(&line.split(' ').collect::<Vec<_>>()).await
    }

    async fn run_words(&self, words: &[&str]) -> Result<Ended> {
        metabuilder(self.folder.path(), &[&["flags"], words].concat(), &self.vars()).await
    }

    /// What a command that works prints.
    async fn text(&self, line: &str) -> Result<String> {
        let ended = self.run(line).await?;
        ensure!(ended.code == Some(0), "flags {line}: {} {}", ended.out, ended.err);
        Ok(ended.out)
    }

    /// The same as JSON.
    async fn json(&self, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(&format!("{line} --output json")).await?)?)
    }

    /// Starts a command that goes on.
    fn start(&self, line: &str) -> Result<Process> {
        let words: Vec<_> = std::iter::once("flags").chain(line.split(' ')).collect();
        Process::start("metabuilder", &words, &self.vars(), self.folder.path())
    }
}

fn in_force(found: &Value, setting: &str) -> (Value, String) {
    let one = &found["settings"][setting];
    (one["value"].clone(), one["layer"].as_str().unwrap_or_default().to_owned())
}

/// Every command, in a world where nothing is set yet.
async fn every_command_works(shell: &Shell, actor: &str) -> Result<()> {
    let total = "max_total_attempts";
    let start = shell.json("get").await?;
    assert_eq!(in_force(&start, total), (json!(10), "platform".to_owned()));
    assert_eq!(start["override_version"], 0);

    let dry = shell.json("set max_total_attempts=8 --dry-run").await?;
    assert_eq!(dry["affected"][0]["after"][total], 8, "{dry}");
    assert_eq!(in_force(&shell.json("get").await?, total).0, 10);

    let set = shell.json("set max_total_attempts=8 autofix_enabled=true --if-version 0").await?;
    assert_eq!(in_force(&set, total), (json!(8), "tenant".to_owned()));
    let late = shell.run("set max_total_attempts=9 --if-version 0").await?;
    assert_eq!(late.code, Some(1), "{}", late.err);
    assert!(late.err.contains("version"), "{}", late.err);

    let one = shell.json("reset autofix_enabled").await?;
    assert_eq!(in_force(&one, "autofix_enabled").1, "platform");
    assert_eq!(in_force(&one, total).1, "tenant");

    platform_commands_work(shell).await?;

    let later = shell.json("set max_total_attempts=3 --at 2999-01-01T00:00:00Z").await;
    assert!(later.is_err(), "more than a year ahead: {later:?}");
    let at = meta_runtime::now().plus_ms(3_600_000).to_string();
    let later = shell.json(&format!("set max_total_attempts=3 --at {at}")).await?;
    assert_eq!((&later["status"], &later["effective_at"]), (&json!("scheduled"), &json!(at)));
    let id = later["id"].as_str().context("an id")?.to_owned();
    let text = shell.text("explain").await?;
    for part in ["max_total_attempts = 8", " * tenant      8", "shadowed", "scheduled", &id, actor]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    shell.text(&format!("unschedule {}", &id[24..])).await?;
    assert_eq!(shell.json("explain").await?["scheduled"], json!([]));
    assert_eq!(shell.run(&format!("unschedule {id}")).await?.code, Some(2));

    let history = shell.json("history").await?;
    let kinds: Vec<_> = history.as_array().context("a list")?.iter().map(|c| &c["kind"]).collect();
    assert_eq!(kinds, ["canceled", "scheduled", "written", "written"]);
    assert_eq!(history[0]["actor"], actor);
    let of_one = shell.json("history --setting autofix_enabled --limit 1").await?;
    assert_eq!(of_one.as_array().map(Vec::len), Some(1));
    assert!(of_one[0]["before"]["autofix_enabled"] == true, "{of_one}");

    let none = shell.json("reset").await?;
    assert_eq!(in_force(&none, total), (json!(10), "platform".to_owned()));
    other_tenants_are_apart(shell).await
}

async fn platform_commands_work(shell: &Shell) -> Result<()> {
    let dry = shell.json("set autofix_enabled=false --kill-switch --dry-run").await?;
    assert_eq!((&dry["changed"], &dry["affects_others"]), (&json!(true), &json!(true)), "{dry}");
    shell.text("set autofix_enabled=false --kill-switch --reason stop").await?;
    let killed = shell.json("get").await?;
    assert_eq!(in_force(&killed, "autofix_enabled"), (json!(false), "kill_switch".to_owned()));
    assert_eq!(shell.json("get --kill-switch").await?["overrides"]["autofix_enabled"], false);
    shell.text("reset --kill-switch --reason again").await?;
    shell.text("set max_per_step_attempts=4 --rollout 100 --bucket-key all --reason try").await?;
    let rolled = shell.json("get").await?;
    assert_eq!(in_force(&rolled, "max_per_step_attempts"), (json!(4), "rollout".to_owned()));
    shell.text("set max_per_step_attempts=4 --rollout 0 --bucket-key all --reason less").await?;
    let text = shell.text("explain").await?;
    assert!(text.contains("does not apply") && text.contains("for 0 % of the tenants"), "{text}");
    shell.text("reset max_per_step_attempts --rollout --reason done").await?;
    shell.text("set backoff_cap_seconds=30 --platform --reason calm").await?;
    let calm = shell.json("get").await?;
    assert_eq!(in_force(&calm, "backoff_cap_seconds"), (json!(30), "platform".to_owned()));
    let platform = shell.text("get --platform").await?;
    assert!(platform.contains("backoff_cap_seconds   30    platform"), "{platform}");
    shell.text("reset --platform --reason back").await?;
    let history = shell.json("history --platform").await?;
    assert_eq!(
        (history.as_array().map(Vec::len), &history[0]["reason"]),
        (Some(7), &json!("back"))
    );
    Ok(())
}

async fn other_tenants_are_apart(shell: &Shell) -> Result<()> {
    shell.text(&format!("set max_total_attempts=2 --tenant {OTHER}")).await?;
    let other = shell.json(&format!("get --tenant {OTHER}")).await?;
    assert_eq!(in_force(&other, "max_total_attempts").0, 2);
    let own = shell.json(&format!("get --tenant {LOCAL}")).await?;
    assert_eq!(in_force(&own, "max_total_attempts").0, 10);
    Ok(())
}

#[tokio::test]
async fn every_command_works_on_this_machine() -> Result<()> {
    every_command_works(&Shell::here()?, "user:ada").await
}

#[tokio::test]
async fn every_command_works_with_a_server_and_a_members_own_tenant_needs_no_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let shell = Shell::at(&up.url, &up.key)?;
    every_command_works(&shell, "user:dev").await?;

    let made = up.rest.post("/tenants", &json!({ "name": "acme" })).await?.with(201)?;
    let tenant = made["data"]["id"].as_str().context("an id")?.to_owned();
    let path = format!("/tenants/{tenant}/users");
    let user = json!({ "email": "a@example.org", "role": "admin" });
    let made = up.rest.post(&path, &user).await?.with(201)?;
    let key = made["data"]["attributes"]["api_key"].as_str().context("a key")?;
    let admin = Shell::at(&up.url, key)?;
    admin.text("set max_total_attempts=5").await?;
    let path = format!("/tenants/{tenant}/settings");
    let found = up.rest.get(&path).await?.with(200)?;
    assert_eq!(found["data"]["attributes"]["override"]["max_total_attempts"], 5, "{found}");
    for line in [
        "set autofix_enabled=false --kill-switch --reason mine",
        "get --platform",
        &format!("get --tenant {LOCAL}"),
    ] {
        let ended = admin.run(line).await?;
        assert!(matches!(ended.code, Some(1 | 2)) && !ended.err.is_empty(), "{line}: {ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_history_longer_than_a_page_is_read_to_its_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let path = format!("/tenants/{LOCAL}/settings");
    for n in 0..120 {
        let body = json!({ "max_total_attempts": 1 + n % 20 });
        let done = up.rest.request(reqwest::Method::PATCH, &path).json(&body).send().await?;
        assert_eq!(done.status(), 200);
    }
    let shell = Shell::at(&up.url, &up.key)?;
    for (line, expected) in
        [("history", 50), ("history --limit 110", 110), ("history --limit 999", 120)]
    {
        assert_eq!(shell.json(line).await?.as_array().map(Vec::len), Some(expected), "{line}");
    }
    let (url, data) = (up.url.clone(), folder.path().join("data"));
    up.process.stop().await?;
    let data = data.to_str().context("a plain path")?.to_owned();
    let local = Shell { folder, vars: vec![("METABUILDER_DATA", data)] };
    assert_eq!(local.json("history --limit 999").await?.as_array().map(Vec::len), Some(120));
    let gone = shell.run("get").await?;
    assert!(gone.code == Some(1) && gone.err.contains(&url), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn bad_input_is_one_clear_error_and_nothing_is_stored() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let long = "k".repeat(100_000);
    let huge = format!("set {long}=1");
    for shell in [Shell::here()?, Shell::at(&up.url, &up.key)?] {
        for (line, part) in [
            ("set colour=red", "is not a setting"),
            ("set max_total_attempts=0", "0 is out of range (expected 1 to 20)"),
            ("set max_total_attempts=21", "21 is out of range (expected 1 to 20)"),
            ("set max_total_attempts=2.5", "\"2.5\" is not a whole number from 1 to 20"),
            ("set max_total_attempts=six", "\"six\" is not a whole number"),
            ("set max_total_attempts=4294967296", "is not a whole number from 1 to 20"),
            ("set max_total_attempts", "has no '='"),
            ("set autofix_enabled=null", "\"null\" is not true or false"),
            (&huge, "is not a setting"),
            ("set autofix_enabled=true --kill-switch --reason r", "true"),
            ("set autofix_enabled=false --kill-switch", "--reason is missing"),
            ("set max_total_attempts=4 --rollout 101 --reason r", "101 is not in 0..=100"),
            ("set max_total_attempts=4 --rollout half --reason r", "half"),
            ("set max_total_attempts=4 --rollout 5 --bucket-key a/b --reason r", "bucket_key"),
            ("set max_total_attempts=4 --at tomorrow", "tomorrow"),
            ("set max_total_attempts=4 --at 2020-01-01T00:00:00Z", "out of range"),
            ("set max_total_attempts=4 --if-version six", "six"),
            ("reset colour", "colour"),
            ("get --tenant 7", "7"),
            ("get --run 00000000-0000-7000-8000-000000000009", "not found"),
            ("unschedule 00000000-0000-7000-8000-000000000009", "not found"),
        ] {
            let ended = shell.run(line).await?;
            let shown: String = line.chars().take(60).collect();
            assert_eq!(ended.code, Some(2), "{shown}: {}", ended.err);
            assert!(ended.err.contains(part), "{shown}: {part:?} is not in {}", ended.err);
            assert!(ended.err.len() < 1_000, "{shown}: {} bytes", ended.err.len());
        }
        assert_eq!(shell.json("history").await?, json!([]));
        assert_eq!(shell.json("history --platform").await?, json!([]));
        assert_eq!(shell.json("explain").await?["scheduled"], json!([]));
    }
    Ok(())
}

/// A watcher tells what is in force, then what somebody else changed, and ends by ctrl-C.
async fn watch_tells_changes(watcher: &Shell, writer: &Shell) -> Result<()> {
    let mut watch = watcher.start("watch")?;
    watch.says("max_total_attempts=10 platform").await?;
    writer.text("set max_total_attempts=7").await?;
    watch.says("max_total_attempts=7 tenant").await?;
    let (told, _) = watch.said();
    assert!(told.matches("backoff_cap_seconds").count() == 1 && !told.contains("stale"), "{told}");
    watch.signal(Signal::SIGINT)?;
    let ended = watch.ended().await?;
    assert_eq!((ended.code, ended.err.as_str()), (Some(130), ""));
    Ok(())
}

#[tokio::test]
async fn a_watch_on_this_machine_tells_what_another_process_changed() -> Result<()> {
    let shell = Shell::here()?;
    watch_tells_changes(&shell, &shell).await
}

#[tokio::test]
async fn a_watch_of_a_server_tells_changes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let shell = Shell::at(&up.url, &up.key)?;
    watch_tells_changes(&shell, &shell).await
}

#[tokio::test]
async fn a_change_that_became_due_while_nothing_ran_is_in_force_at_the_next_command() -> Result<()>
{
    let shell = Shell::here()?;
    let at = meta_runtime::now().plus_ms(10_000);
    shell.text(&format!("set max_total_attempts=3 --at {at}")).await?;
    loop {
        let due = meta_runtime::now() > at;
        let found = shell.json("get").await?;
        if due {
            assert_eq!(in_force(&found, "max_total_attempts"), (json!(3), "tenant".to_owned()));
            break;
        }
    }
    assert_eq!(shell.json("history").await?[0]["kind"], "applied");
    Ok(())
}

async fn evaluated(address: &str, context: Option<&str>) -> Result<flagd::ResolveIntResponse> {
    let channel = meta_runtime::transport::remote(&format!("http://{address}"), "");
    let mut client = ServiceClient::new(channel.map_err(anyhow::Error::msg)?);
    let text = |id: &str| {
        let kind = prost_types::value::Kind::StringValue(id.to_owned());
        prost_types::Value { kind: Some(kind) }
    };
    let context = context
        .map(|id| prost_types::Struct { fields: [("tenantId".to_owned(), text(id))].into() });
    let request = flagd::ResolveIntRequest { flag_key: "max_total_attempts".to_owned(), context };
    Ok(client.resolve_int(request).await?.into_inner())
}

async fn up_with(data: &Path, more: &[&str]) -> Result<(Up, String)> {
    let mut up = Up::start_with(data, more, &[]).await?;
    let address = up.greeting("OpenFeature (flagd)").await?;
    Ok((up, address))
}

#[tokio::test]
async fn flagds_clients_read_the_local_tenants_settings_or_any_without_a_credential() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let (up, address) = up_with(&folder.path().join("a"), &["--flagd", "127.0.0.1:0"]).await?;
    let shell = Shell::at(&up.url, &up.key)?;
    shell.text("set max_total_attempts=6").await?;
    let one = evaluated(&address, None).await?;
    assert_eq!((one.value, one.variant.as_deref()), (Some(6), Some("tenant")));
    assert!(evaluated(&address, Some(OTHER)).await.is_err(), "another tenant is not told");

    let more = ["--flagd", "127.0.0.1:0", "--flagd-tenant", "any"];
    let (up, address) = up_with(&folder.path().join("b"), &more).await?;
    let shell = Shell::at(&up.url, &up.key)?;
    shell.text(&format!("set max_total_attempts=4 --tenant {OTHER}")).await?;
    assert_eq!(evaluated(&address, Some(OTHER)).await?.value, Some(4));
    assert_eq!(evaluated(&address, Some(LOCAL)).await?.value, Some(10));
    Ok(())
}

#[tokio::test]
async fn an_address_that_others_reach_is_wrong_usage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for line in ["up --flagd 0.0.0.0:0", "up --flagd 127.0.0.1:0 --flagd-tenant everyone"] {
        let words: Vec<_> = line.split(' ').collect();
        let ended = metabuilder(folder.path(), &words, &[]).await?;
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.err);
    }
    assert!(!folder.path().join(".metabuilder").exists());
    Ok(())
}
