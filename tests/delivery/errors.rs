//! docs/ERRORS.md: every reason that the code gives, with what to do about it (docs/errors.toml).

use crate::shell::root;
use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where reasons are given.
const FOLDERS: [&str; 3] = ["services", "gateway/src", "proto/src"];
/// How the code gives them; the first group is the kind where it stands beside it.
const REASONS: [&str; 9] = [
    r#"ErrorKind::(?<kind>\w+),\s*"(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"Fault::(?<kind>not_found)\(\s*"(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"(?<kind>denied)\(\s*"(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"(?<kind>refused)\(\s*"(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"reason: "(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"reason (?:=|==) "(?<reason>[A-Z][A-Z0-9_]+)""#,
    r#"=> "(?<reason>[A-Z]+_PER_HOUR)""#,
    r#"const BUSY: &str = "(?<reason>[A-Z_]+)""#,
    r#"\{ "(?<reason>[A-Z]+_[A-Z_]+)" \} else"#,
];
/// The same for codes that only HTTP has.
const CODES: [&str; 2] = [
    r#"Problem::new\(\s*StatusCode::(?<kind>\w+),\s*"(?<reason>[a-z_]+)""#,
    r#"Problem::(?<kind>bad|fields)\(\s*"(?<reason>[a-z_]+)""#,
];

type Found = BTreeMap<String, BTreeSet<String>>;

/// Every reason with the kinds that it is given with.
fn given(folders: &[&str], patterns: &[&str]) -> Result<Found> {
    let patterns = patterns.iter().map(|p| Ok(Regex::new(p)?)).collect::<Result<Vec<_>>>()?;
    let mut found = Found::new();
    for file in folders.iter().flat_map(|f| sources(&root().join(f))) {
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for captures in patterns.iter().flat_map(|p| p.captures_iter(code)) {
            let kinds = found.entry(captures["reason"].to_owned()).or_default();
            kinds.extend(captures.name("kind").map(|k| kind(k.as_str()).to_owned()));
        }
    }
    Ok(found)
}

/// A kind as it goes over the wire.
fn kind(word: &str) -> &str {
    match word {
        "not_found" | "NotFound" | "NOT_FOUND" => "NOT_FOUND / 404",
        "InvalidArgument" | "bad" | "fields" => "INVALID_ARGUMENT / 400",
        "Unauthenticated" => "UNAUTHENTICATED / 401",
        "denied" | "PermissionDenied" | "FORBIDDEN" => "PERMISSION_DENIED / 403",
        "AlreadyExists" => "ALREADY_EXISTS / 409",
        "refused" | "FailedPrecondition" => "FAILED_PRECONDITION / 409",
        "Conflict" => "ABORTED / 409",
        "ResourceExhausted" => "RESOURCE_EXHAUSTED / 429",
        "Unavailable" => "UNAVAILABLE / 503",
        "DeadlineExceeded" => "DEADLINE_EXCEEDED / 504",
        "Internal" => "INTERNAL / 500",
        "PAYLOAD_TOO_LARGE" => "413",
        "UNSUPPORTED_MEDIA_TYPE" => "415",
        "NOT_ACCEPTABLE" => "406",
        "REQUEST_TIMEOUT" => "408",
        other => other,
    }
}

/// The Rust files below a folder, tests left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && !["tests", "target", "benches"].contains(&name.as_ref()) {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && !name.contains("tests") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn table(found: &Found, advice: &toml::Table) -> Result<String> {
    let mut text =
        "| reason | code | what it means | what to do |\n| --- | --- | --- | --- |\n".to_owned();
    for (reason, kinds) in found {
        let entry = advice.get(reason).and_then(|e| e.as_array());
        let entry =
            entry.with_context(|| format!("docs/errors.toml says nothing about {reason}"))?;
        let words: Vec<&str> = entry.iter().filter_map(|w| w.as_str()).collect();
        let [means, to_do, ref more @ ..] = words[..] else {
            anyhow::bail!("{reason} needs two sentences")
        };
        let beside = more.iter().map(|k| kind(k));
        let kinds: BTreeSet<&str> = kinds.iter().map(String::as_str).chain(beside).collect();
        ensure!(!kinds.is_empty(), "docs/errors.toml has to name the kind of {reason}");
        let kinds: Vec<&str> = kinds.into_iter().collect();
        writeln!(text, "| `{reason}` | {} | {means} | {to_do} |", kinds.join(", "))?;
    }
    let gone: Vec<_> = advice.keys().filter(|reason| !found.contains_key(*reason)).collect();
    ensure!(gone.is_empty(), "docs/errors.toml has reasons that the code does not give: {gone:?}");
    Ok(text)
}

#[test]
fn the_page_of_errors_has_every_reason_of_the_code() -> Result<()> {
    let advice: toml::Table =
        toml::from_str(&std::fs::read_to_string(root().join("docs/errors.toml"))?)?;
    let of = |name: &str| advice.get(name).and_then(|t| t.as_table()).cloned().unwrap_or_default();
    let reasons = table(&given(&FOLDERS, &REASONS)?, &of("reason"))?;
    let codes = table(&given(&["gateway/src"], &CODES)?, &of("http"))?;
    let page = format!(
        "# Errors\n\n<!-- made by `make generated` from the code and docs/errors.toml -->\n\n\
         Every error carries a reason that programs can read: over gRPC it is `reason` of \
         `google.rpc.ErrorInfo` in the status details, over HTTP `errors[].code` (with \
         `Accept: application/problem+json` it is `code`), there in lower case. The text beside it \
         is for people and may change.\n\n\
         Send the same request again only for UNAVAILABLE and RESOURCE_EXHAUSTED, after the wait \
         that `RetryInfo` or `Retry-After` names; for ABORTED read first what is there now.\n\n\
         ## Reasons\n\n{reasons}\n## Codes that only HTTP has\n\n{codes}"
    );
    let path = root().join("docs/ERRORS.md");
    if meta_runtime::start::vars().contains_key("UPDATE_GOLDEN") {
        std::fs::write(&path, page)?;
        return Ok(());
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(kept == page, "docs/ERRORS.md is stale: make generated");
    Ok(())
}
