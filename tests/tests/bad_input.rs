//! Bad input: each a clear error that names the field, the value and what was expected.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Ended, Up, metabuilder, snapshot, write_files};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An id that nothing has.
const NOBODY: &str = "01890000-0000-7000-8000-00000000dead";

/// A project and a data folder of its own.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("project"))?;
        write_files(&dir.path().join("project"), files)?;
        Ok(Self { dir })
    }

    async fn run(&self, args: &[&str], vars: &[(&str, &str)]) -> Result<Ended> {
        let data = self.dir.path().join("data");
        let mut all = vec![("METABUILDER_DATA", data.to_str().context("path")?)];
        all.extend_from_slice(vars);
        metabuilder(self.dir.path(), args, &all).await
    }
}

/// Builds a project that cannot be built: exit 2, nothing on standard output, no file touched, and
/// an error that says all of these.
async fn refused(files: &[(&str, &str)], parts: &[&str]) -> Result<()> {
    let place = Place::new(files)?;
    let before = snapshot(&place.dir.path().join("project"))?;
    let ended = place.run(&["build", "project"], &[]).await?;
    ensure!(ended.code == Some(2), "{files:?} ended with {:?}: {}", ended.code, ended.err);
    for part in parts {
        ensure!(ended.err.contains(part), "{part:?} is not in the error: {}", ended.err);
    }
    ensure!(ended.out.is_empty(), "{}", ended.out);
    ensure!(snapshot(&place.dir.path().join("project"))? == before, "the project was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_project_file_is_refused_with_field_value_and_expectation() -> Result<()> {
    let file = |text: &'static str| [("metabuilder.toml", text)];
    let cycle = "[[step]]\nname = \"a\"\nrun = \"true\"\nneeds = [\"b\"]\n\
                 [[step]]\nname = \"b\"\nrun = \"true\"\nneeds = [\"a\"]\n";
    refused(&file(cycle), &["needs", "a -> b -> a", "expected no cycle"]).await?;
    let unknown = "[[step]]\nname = \"a\"\nrun = \"true\"\ntmeout = \"5m\"\n";
    refused(&file(unknown), &["metabuilder.toml:4", "tmeout", "expected one of", "timeout"])
        .await?;
    let twice = "[[step]]\nname = \"a\"\nrun = \"true\"\n[[step]]\nname = \"a\"\nrun = \"true\"\n";
    refused(&file(twice), &["step[1].name", "\"a\"", "expected a unique name"]).await?;
    let duration = "[[step]]\nname = \"a\"\nrun = \"true\"\ntimeout = \"soon\"\n";
    refused(&file(duration), &["step[0].timeout", "\"soon\"", "expected"]).await?;
    let need = "[[step]]\nname = \"a\"\nrun = \"true\"\nneeds = [\"z\"]\n";
    refused(&file(need), &["step[0].needs[0]", "\"z\"", "expected"]).await?;
    let budget = "[autofix]\nmax_per_step_attempts = 99\n[[step]]\nname = \"a\"\nrun = \"true\"\n";
    refused(&file(budget), &["autofix.max_per_step_attempts", "99", "1 to 10"]).await?;
    let outside = "[[step]]\nname = \"a\"\nrun = \"true\"\ncache = [\"../up\"]\n";
    refused(&file(outside), &["step[0].cache[0]", "../up", "expected a relative path"]).await?;
    let broken = "[[step]\nname = \"a\"\n";
    refused(&file(broken), &["metabuilder.toml:1"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_project_file_is_named_at_once() -> Result<()> {
    let text = "[[step]]\nname = \"a b\"\nrun = \"\"\ntimeout = \"soon\"\napproval = \"perhaps\"\n";
    let parts = ["step[0].name", "step[0].run", "step[0].timeout", "step[0].approval", "perhaps"];
    refused(&[("metabuilder.toml", text)], &parts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_missing_or_empty_is_refused() -> Result<()> {
    let place = Place::new(&[("notes.md", "nothing to build\n")])?;
    let ended = place.run(&["build", "nowhere"], &[]).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("nowhere") && ended.err.contains("No such file"), "{}", ended.err);
    assert!(ended.err.contains("next:"), "{}", ended.err);
    let ended = place.run(&["build", "project/notes.md"], &[]).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("not a folder"), "{}", ended.err);
    for command in ["build", "plan"] {
        let ended = place.run(&[command, "project"], &[]).await?;
        assert_eq!(ended.code, Some(2), "{}", ended.err);
        assert!(ended.err.contains("metabuilder.toml"), "{}", ended.err);
    }
    refused(&[], &["metabuilder.toml"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_of_the_command_is_told_apart() -> Result<()> {
    let place = Place::new(&[])?;
    for (args, part) in [
        (&["build", "--output", "yaml"] as &[&str], "yaml"),
        (&["biuld"], "biuld"),
        (&["approve", "00000000"], "00000000"),
        (&["runs", "show", NOBODY], NOBODY),
        (&["runs", "show", "not-an-id"], "not-an-id"),
        (&["why", NOBODY, "test"], NOBODY),
        (&["classify", "no-such.log"], "no-such.log"),
        (&["flags", "set", "max_total_attempts=99"], "1 to 20"),
        (&["flags", "set", "max_totl_attempts=3"], "max_totl_attempts"),
        (&["flags", "set", "autofix_enabled=perhaps"], "perhaps"),
    ] {
        let ended = place.run(args, &[]).await?;
        assert_eq!(ended.code, Some(2), "{args:?}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains(part), "{args:?} does not name {part}: {}", ended.err);
    }
    for (name, value, part) in [
        ("META_V3_MAX_TOTAL_ATTEMPTS", "99", "20"),
        ("META_V3_BACKOFF_CAP_SECONDS", "soon", "300"),
        ("FEATURE_META_V3_AUTOFIX", "perhaps", "true"),
        ("META_BUILDER_ENV", "moon", "production"),
    ] {
        let ended = place.run(&["runs", "ls"], &[(name, value)]).await?;
        assert_eq!(ended.code, Some(2), "{name}: {}", ended.err);
        for part in [name, value, part] {
            assert!(ended.err.contains(part), "{part} is not in: {}", ended.err);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_or_does_not_know_the_key_is_told() -> Result<()> {
    let place = Place::new(&[])?;
    let gone = "http://127.0.0.1:9";
    let vars = [("METABUILDER_URL", gone), ("METABUILDER_TOKEN", "mb_any")];
    for args in [&["runs", "ls"] as &[&str], &["approve", NOBODY], &["flags", "get"]] {
        let ended = place.run(args, &vars).await?;
        assert_eq!(ended.code, Some(1), "{args:?}: {}", ended.err);
        assert!(ended.err.contains(gone), "{args:?}: {}", ended.err);
        assert!(!ended.err.contains("mb_any"), "the token is printed: {}", ended.err);
    }
    let ended = place.run(&["runs", "ls"], &vars[..1]).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("METABUILDER_TOKEN"), "{}", ended.err);
    let odd = [("METABUILDER_URL", "127.0.0.1:9"), vars[1]];
    let ended = place.run(&["runs", "ls"], &odd).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(
        ended.err.contains("METABUILDER_URL") && ended.err.contains("http://"),
        "{}",
        ended.err
    );

    let up = Up::start(&place.dir.path().join("server"), &[]).await?;
    let vars = [("METABUILDER_URL", up.url.as_str()), ("METABUILDER_TOKEN", "mb_dev_wrong")];
    let ended = place.run(&["runs", "ls"], &vars).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("METABUILDER_TOKEN"), "{}", ended.err);
    let vars = [("METABUILDER_URL", up.url.as_str()), ("METABUILDER_TOKEN", up.key.as_str())];
    let ended = place.run(&["runs", "show", NOBODY], &vars).await?;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains(NOBODY), "{}", ended.err);

    // a folder that a server works with is not worked on by anybody else
    let data = place.dir.path().join("server");
    let data = [("METABUILDER_DATA", data.to_str().context("path")?)];
    let ended = metabuilder(place.dir.path(), &["runs", "ls"], &data).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("in use"), "{}", ended.err);
    Ok(())
}

/// Asks with JSON and checks the status, the error's code, and what else the error says.
async fn says(up: &Up, ask: (Method, &str, &str), status: u16, parts: &[&str]) -> Result<()> {
    let (method, path, body) = ask;
    let request = up.rest.request(method.clone(), path).header("content-type", "application/json");
    let response = request.body(body.to_owned()).send().await?;
    let got = response.status().as_u16();
    let text = response.text().await?;
    ensure!(got == status, "{method} {path} {body}: expected {status}, got {got}: {text}");
    let document: Value = serde_json::from_str(&text)?;
    let errors = &document["errors"];
    let told = errors[0]["status"].as_str().and_then(|s| s.parse::<u16>().ok());
    ensure!(told == Some(status), "{method} {path}: {document:#}");
    for part in parts {
        ensure!(errors.to_string().contains(part), "{method} {path}: no {part:?} in {document:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_api_refuses_bad_input_and_points_at_it() -> Result<()> {
    let place = Place::new(&[])?;
    let up = Up::start(&place.dir.path().join("data"), &[]).await?;
    for key in ["", "mb_dev_wrong"] {
        let answer = up.rest.with_key(key).get("/runs").await?;
        assert_eq!(answer.status, 401, "{key:?}: {:#}", answer.body);
    }
    let get = |path: &'static str| (Method::GET, path, "");
    says(&up, get("/runs/4711"), 400, &["run_id", "4711", "UUID"]).await?;
    says(&up, get("/specs/0197a2c4-6f3e-7c11-9f6d"), 400, &["spec_id"]).await?;
    says(&up, (Method::POST, "/approvals/x/approve", ""), 400, &["gate_id", "UUID"]).await?;
    says(&up, get("/runs/01890000-0000-7000-8000-00000000dead"), 404, &["run_not_found", "dead"])
        .await?;
    says(&up, get("/runs?per_page=101"), 400, &["per_page", "101", "100"]).await?;
    says(&up, get("/runs?status=done"), 400, &["status", "done", "succeeded"]).await?;
    says(&up, get("/runs?sttus=failed"), 400, &["sttus"]).await?;
    says(&up, get("/nothing"), 404, &["route_not_found"]).await?;
    says(&up, (Method::DELETE, "/runs", ""), 405, &["method_not_allowed"]).await?;

    let post = |body: &'static str| (Method::POST, "/specs", body);
    says(&up, post("{"), 400, &["malformed_json", "line 1"]).await?;
    says(&up, post("[]"), 400, &["invalid_document"]).await?;
    let unknown = r#"{"title":"t","mode":"freeform","titel":"t"}"#;
    says(&up, post(unknown), 400, &["unknown_field", "/data/attributes/titel"]).await?;
    let nested =
        r#"{"title":"t","mode":"freeform","steps":[{"name":"a","run":"true","tmeout":"5m"}]}"#;
    says(&up, post(nested), 400, &["unknown_field", "/data/attributes/steps/0/tmeout"]).await?;
    let duration =
        r#"{"title":"t","mode":"freeform","steps":[{"name":"a","run":"true","timeout":"soon"}]}"#;
    let pointer = "/data/attributes/steps/0/timeout";
    says(&up, post(duration), 400, &["invalid_field", pointer, "soon", "expected"]).await?;
    let cycle = r#"{"title":"t","mode":"freeform","steps":[
        {"name":"a","run":"true","needs":["b"]},{"name":"b","run":"true","needs":["a"]}]}"#;
    says(&up, post(cycle), 400, &["a -> b -> a"]).await?;
    let mode = r#"{"title":"","mode":"magic"}"#;
    let parts = ["/data/attributes/mode", "magic", "guided or freeform", "/data/attributes/title"];
    says(&up, post(mode), 400, &parts).await?;
    let path = r#"{"title":"t","mode":"freeform",
        "source":{"kind":"inline","files":{"../x":""}}}"#;
    says(&up, post(path), 400, &["/data/attributes/source/files", "../x"]).await?;

    let huge = format!(r#"{{"title":"{}"}}"#, "x".repeat(20 * 1024 * 1024));
    let answer = up.rest.post_bytes("/specs", huge).await?;
    assert_eq!(answer.status, 413, "{:?}", answer.error());
    let (_, error) = answer.error();
    assert!(error.contains("10"), "the limit is not named: {error}");

    let empty = json!({ "title": "nothing to build", "mode": "freeform" });
    let made = up.rest.post("/specs", &empty).await?.with(201)?;
    let spec = made["data"]["id"].as_str().context("id")?;
    let plan = up.rest.post(&format!("/specs/{spec}/plan"), &json!({})).await?;
    assert_eq!(plan.status, 400, "{:#}", plan.body);
    assert!(plan.error().1.contains("steps"), "{:#}", plan.body);
    let run = up.rest.post(&format!("/specs/{spec}/runs"), &json!({})).await?;
    assert_eq!(run.status, 409, "{:#}", run.body);
    assert!(run.error().1.contains("plan"), "{:#}", run.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_out_of_range_are_refused_whole() -> Result<()> {
    let place = Place::new(&[])?;
    let up = Up::start(&place.dir.path().join("data"), &[]).await?;
    let steps = json!([{ "name": "a", "run": "true" }]);
    let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
    let spec = up.rest.planned(&spec).await?;
    let over = json!({ "settings": { "max_total_attempts": 99, "backoff_cap_seconds": 301 } });
    let answer = up.rest.post(&format!("/specs/{spec}/runs"), &over).await?;
    assert_eq!(answer.status, 400, "{:#}", answer.body);
    let all = answer.body["errors"].to_string();
    for part in ["settings/max_total_attempts", "settings/backoff_cap_seconds", "1 to 20", "301"] {
        assert!(all.contains(part), "no {part} in {all}");
    }
    let over = json!({ "max_iterations": 21 });
    let answer = up.rest.post(&format!("/specs/{spec}/runs"), &over).await?;
    assert_eq!((answer.status, answer.error().0.as_str()), (400, "invalid_field"));
    let runs = up.rest.get("/runs").await?.with(200)?;
    assert_eq!(runs["meta"]["total"], 0, "{runs:#}");

    let tenant = "/tenants/00000000-0000-7000-8000-000000000001/settings";
    let before = up.rest.get(tenant).await?.with(200)?;
    let body = r#"{"max_total_attempts":0,"max_per_step_attempts":3,"backoff_cap_seconds":5}"#;
    for method in [Method::PUT, Method::PATCH] {
        let parts = ["max_total_attempts", "backoff_cap_seconds", "10 to 300"];
        says(&up, (method, tenant, body), 400, &parts).await?;
    }
    assert_eq!(up.rest.get(tenant).await?.with(200)?, before, "nothing is stored");
    let validate = (Method::POST, "/settings/validate", r#"{"max_total_attempts":"many"}"#);
    says(&up, validate, 400, &["max_total_attempts"]).await?;
    Ok(())
}
