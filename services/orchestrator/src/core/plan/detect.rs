//! Detection of toolchains from a source's files.

use meta_domain::limits::STEP_TIMEOUT_MS_DEFAULT;
use meta_domain::plan::{ApprovalMode, Command, PlannedStep};
use meta_domain::source::SourceListing;
use std::collections::BTreeMap;

/// The steps of every toolchain that is found, and the toolchains' names.
pub(super) fn steps(listing: &SourceListing) -> (Vec<PlannedStep>, Vec<&'static str>) {
    let mut all: Vec<PlannedStep> = Vec::new();
    let mut found = Vec::new();
    for (name, prefix, steps) in [
        ("Rust", "rust", rust(listing)),
        ("Python", "python", python(listing)),
        ("Node", "node", node(listing)),
        ("Go", "go", go(listing)),
    ] {
        if steps.is_empty() {
            continue;
        }
        found.push(name);
        merge(&mut all, steps, prefix);
    }
    if all.is_empty() {
        let make = make(listing);
        if !make.is_empty() {
            return (make, vec!["Make"]);
        }
        let shell = shell(listing);
        if !shell.is_empty() {
            return (shell, vec!["shell"]);
        }
    }
    (all, found)
}

/// Adds a toolchain's steps; names that another toolchain has get its prefix.
fn merge(all: &mut Vec<PlannedStep>, mut steps: Vec<PlannedStep>, prefix: &str) {
    let taken: Vec<String> = all.iter().map(|s| s.name.clone()).collect();
    let renamed = |name: &str| {
        if taken.iter().any(|t| t == name) { format!("{prefix}-{name}") } else { name.to_owned() }
    };
    for step in &mut steps {
        step.name = renamed(&step.name);
        step.needs = step.needs.iter().map(|n| renamed(n)).collect();
    }
    all.append(&mut steps);
}

fn step(name: &str, run: &str, needs: &[&str], why: &str) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        run: Command::Shell(run.to_owned()),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        timeout_ms: STEP_TIMEOUT_MS_DEFAULT,
        cache: Vec::new(),
        fix: None,
        env: BTreeMap::new(),
        network: false,
        writable: Vec::new(),
        approval: ApprovalMode::Never,
        why: why.to_owned(),
        clean_cache: false,
        runs_on: Vec::new(),
    }
}

fn online(mut step: PlannedStep) -> PlannedStep {
    step.network = true;
    step
}

fn cached(mut step: PlannedStep, folder: &str) -> PlannedStep {
    step.cache = vec![folder.to_owned()];
    step
}

fn text<'a>(listing: &'a SourceListing, path: &str) -> Option<&'a str> {
    listing.manifests.get(path).map(String::as_str)
}

fn has(listing: &SourceListing, path: &str) -> bool {
    listing.files.iter().any(|f| f == path) || listing.manifests.contains_key(path)
}

fn rust(listing: &SourceListing) -> Vec<PlannedStep> {
    let Some(manifest) = text(listing, "Cargo.toml") else { return Vec::new() };
    let locked = if has(listing, "Cargo.lock") { " --locked" } else { "" };
    let manifests = listing.manifests.iter().filter(|(p, _)| p.ends_with("Cargo.toml"));
    let external =
        manifests.map(|(_, t)| t).any(|t| has_dependencies(t)) || has_dependencies(manifest);
    let mut steps = Vec::new();
    let mut needs: Vec<&str> = Vec::new();
    if external {
        let fetch = step(
            "fetch",
            &format!("cargo fetch{locked}"),
            &[],
            "Cargo.toml names dependencies; only this step uses the network",
        );
        steps.push(online(fetch));
        needs.push("fetch");
    }
    steps.push(step("fmt", "cargo fmt --all --check", &[], "Cargo.toml: formatting is checked"));
    let lint = format!("cargo clippy --all-targets{locked} -- -D warnings");
    steps.push(cached(step("clippy", &lint, &needs, "Cargo.toml: lints are checked"), "target"));
    needs.push("clippy");
    let test = format!("cargo test{locked}");
    steps.push(cached(step("test", &test, &needs, "Cargo.toml: tests are run"), "target"));
    steps
}

fn has_dependencies(manifest: &str) -> bool {
    let Ok(table) = manifest.parse::<toml::Table>() else { return true };
    let of = |t: &toml::Table| {
        ["dependencies", "dev-dependencies", "build-dependencies"].iter().any(|name| {
            t.get(*name).and_then(toml::Value::as_table).is_some_and(|deps| {
                deps.values().any(|d| d.as_table().is_none_or(|d| !d.contains_key("path")))
            })
        })
    };
    of(&table) || table.get("workspace").and_then(toml::Value::as_table).is_some_and(of)
}

fn python(listing: &SourceListing) -> Vec<PlannedStep> {
    let project = text(listing, "pyproject.toml");
    let sources = listing.files.iter().any(|f| f.ends_with(".py"));
    let manifest = ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"]
        .into_iter()
        .find(|m| has(listing, m));
    let Some(manifest) = manifest.filter(|_| sources) else { return Vec::new() };
    let table = project.and_then(|t| t.parse::<toml::Table>().ok()).unwrap_or_default();
    let tool = |name: &str| {
        table.get("tool").and_then(toml::Value::as_table).is_some_and(|t| t.contains_key(name))
    };
    let mut steps = Vec::new();
    let mut python = "python3";
    let mut needs: Vec<&str> = Vec::new();
    if has(listing, "requirements.txt") {
        let run = "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt";
        let why = "requirements.txt: dependencies go into .venv; only this step uses the network";
        steps.push(online(step("install", run, &[], why)));
        python = ".venv/bin/python";
        needs.push("install");
    }
    for (name, run, wanted) in [
        ("ruff", "ruff check .", tool("ruff") || has(listing, "ruff.toml")),
        ("black", "black --check .", tool("black")),
        ("isort", "isort --check-only .", tool("isort") || has(listing, ".isort.cfg")),
        ("flake8", "flake8 .", has(listing, ".flake8")),
        ("mypy", "mypy .", tool("mypy") || has(listing, "mypy.ini")),
    ] {
        if wanted {
            steps.push(step(name, run, &needs, &format!("the project configures {name}")));
        }
    }
    let is_test = |f: &String| {
        let name = f.rsplit('/').next().unwrap_or(f);
        name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
    };
    let why = format!("{manifest} and test files");
    if listing.files.iter().any(is_test) {
        let run = format!("{python} -m pytest -q");
        steps.push(step("test", &run, &needs, &why));
    } else {
        let run = format!("{python} -m compileall -q -x '\\.venv' .");
        steps.push(step("compile", &run, &needs, &format!("{manifest}, but no test files")));
    }
    steps
}

fn node(listing: &SourceListing) -> Vec<PlannedStep> {
    let Some(manifest) = text(listing, "package.json") else { return Vec::new() };
    let json: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let script = |name: &str| {
        json["scripts"][name].as_str().is_some_and(|s| !s.contains("no test specified"))
    };
    let depends = ["dependencies", "devDependencies"]
        .iter()
        .any(|d| json[*d].as_object().is_some_and(|m| !m.is_empty()));
    let (tool, install) = if has(listing, "pnpm-lock.yaml") {
        ("pnpm", "pnpm install --frozen-lockfile")
    } else if has(listing, "yarn.lock") {
        ("yarn", "yarn install --frozen-lockfile")
    } else if has(listing, "package-lock.json") {
        ("npm", "npm ci --no-audit --no-fund")
    } else {
        ("npm", "npm install --no-audit --no-fund")
    };
    let mut steps = Vec::new();
    let mut needs: Vec<&str> = Vec::new();
    if depends {
        let why = "package.json names dependencies; only this step uses the network";
        steps.push(online(step("install", install, &[], why)));
        needs.push("install");
    }
    for name in ["lint", "format:check", "typecheck", "build", "test"] {
        let step_name = name.replace(':', "-");
        if script(name) {
            let run = format!("{tool} run {name}");
            let why = format!("package.json has a {name} script");
            steps.push(step(&step_name, &run, &needs, &why));
        } else if name == "typecheck" && has(listing, "tsconfig.json") {
            let why = "tsconfig.json: types are checked";
            steps.push(step(&step_name, "npx --no-install tsc --noEmit", &needs, why));
        }
    }
    if steps.is_empty() {
        steps.push(step("install", install, &[], "package.json"));
    }
    steps
}

fn go(listing: &SourceListing) -> Vec<PlannedStep> {
    let Some(manifest) = text(listing, "go.mod") else { return Vec::new() };
    let mut steps = Vec::new();
    let mut needs: Vec<&str> = Vec::new();
    if manifest.contains("require") {
        let why = "go.mod names dependencies; only this step uses the network";
        steps.push(online(step("download", "go mod download", &[], why)));
        needs.push("download");
    }
    let fmt =
        "out=$(gofmt -l .); test -z \"$out\" || { echo \"gofmt: not formatted: $out\"; exit 1; }";
    steps.push(step("gofmt", fmt, &[], "go.mod: formatting is checked"));
    steps.push(step("vet", "go vet ./...", &needs, "go.mod: vet is run"));
    steps.push(step("build", "go build ./...", &needs, "go.mod: packages are built"));
    needs.push("build");
    steps.push(step("test", "go test ./...", &needs, "go.mod: tests are run"));
    steps
}

fn make(listing: &SourceListing) -> Vec<PlannedStep> {
    let Some(file) = text(listing, "Makefile") else { return Vec::new() };
    let target = |name: &str| file.lines().any(|l| l.starts_with(&format!("{name}:")));
    let mut needs: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for name in ["lint", "build", "check", "test"] {
        if target(name) {
            let refs: Vec<&str> = needs.iter().map(String::as_str).collect();
            let why = format!("Makefile has a target {name}");
            steps.push(step(&format!("make-{name}"), &format!("make {name}"), &refs, &why));
            needs = vec![format!("make-{name}")];
        }
    }
    if steps.is_empty() {
        steps.push(step("make", "make", &[], "Makefile: its first target"));
    }
    steps
}

fn shell(listing: &SourceListing) -> Vec<PlannedStep> {
    let scripts: Vec<String> = listing
        .files
        .iter()
        .filter(|f| f.ends_with(".sh"))
        .map(|f| if f.starts_with('-') { format!("./{f}") } else { f.clone() })
        .map(|f| format!("'{}'", f.replace('\'', "'\\''")))
        .collect();
    if scripts.is_empty() {
        return Vec::new();
    }
    let run = format!("shellcheck {}", scripts.join(" "));
    vec![step("shellcheck", &run, &[], &format!("{} shell scripts", scripts.len()))]
}
