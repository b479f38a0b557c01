//! Which files a model should see for a failure.

use crate::core::command::invocations;
use crate::core::evidence;
use crate::core::guard::manifests::is_migration;
use crate::core::guard::paths::Reach;
use crate::core::guard::tests_kept::is_test_path;
use meta_domain::autofix::{Case, ContextPlan, FixerCommand, WantedFile};
use meta_domain::failure::FailureType;

/// Files that are collected at most.
const FILES_MAX: usize = 16;
/// Largest file that is collected, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Largest collection, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;
/// Source files of a workspace that is small enough to be shown when the failure names none.
const SMALL_WORKSPACE: usize = 12;
/// Migrations that are shown beside the failing one.
const MIGRATIONS_SHOWN: usize = 4;

/// What to collect: files that the failure names, that the step names, what failing tests are about.
pub fn plan(case: &Case, fixer: &FixerCommand) -> ContextPlan {
    let reach = Reach::of(&case.step.writable, &fixer.grant.add);
    let mut wanted: Vec<&str> = Vec::new();
    let mut want = |path: &str| {
        let known = case.files.iter().find(|f| *f == path);
        if let Some(file) = known.filter(|f| !wanted.contains(&f.as_str()) && reach.opens(f)) {
            wanted.push(file);
        }
    };
    let located = evidence::located_files(case);
    for file in &located {
        want(file);
    }
    for file in mentioned(case) {
        want(&file);
    }
    for file in arguments(case) {
        want(&file);
    }
    for test in located.iter().filter(|f| is_test_path(f)) {
        for file in subjects(test, &case.files) {
            want(file);
        }
    }
    if case.signal.failure_type == FailureType::SchemaMigration {
        let mut all: Vec<&String> = case.files.iter().filter(|f| is_migration(f)).collect();
        all.sort_unstable();
        for file in all.iter().rev().take(MIGRATIONS_SHOWN) {
            want(file);
        }
    }
    let sources: Vec<&String> =
        case.files.iter().filter(|f| is_source(f) && reach.opens(f)).collect();
    let only_tests = wanted.iter().all(|f| is_test_path(f));
    if only_tests && sources.len() <= SMALL_WORKSPACE {
        for file in sources {
            if !wanted.contains(&file.as_str()) {
                wanted.push(file);
            }
        }
    }
    let read_only = |path: &str| is_test_path(path) && tests_stay(case.signal.failure_type);
    let files = wanted
        .into_iter()
        .take(FILES_MAX)
        .map(|path| WantedFile { path: path.to_owned(), read_only: read_only(path) })
        .collect();
    ContextPlan { files, file_bytes_max: FILE_BYTES_MAX, bytes_max: BYTES_MAX }
}

/// Whether tests may only be read for such a failure.
fn tests_stay(failure_type: FailureType) -> bool {
    !matches!(failure_type, FailureType::Lint | FailureType::Typecheck)
}

fn is_source(path: &str) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, e)| e);
    matches!(
        ending,
        "py" | "js"
            | "jsx"
            | "mjs"
            | "cjs"
            | "ts"
            | "tsx"
            | "rs"
            | "go"
            | "c"
            | "h"
            | "cc"
            | "cpp"
            | "hpp"
            | "java"
            | "kt"
            | "rb"
            | "php"
            | "sh"
            | "sql"
            | "vue"
            | "svelte"
            | "cs"
            | "swift"
    )
}

/// Files of the workspace whose path stands in the evidence.
fn mentioned(case: &Case) -> Vec<String> {
    let text = evidence::text(case);
    let word = |c: char| c.is_alphanumeric() || "_-./@+".contains(c);
    let mut words: Vec<&str> = text
        .split(|c: char| !word(c))
        .map(|w| w.trim_matches(['.', '/']))
        .filter(|w| w.contains(['.', '/']))
        .collect();
    words.dedup();
    words.iter().filter_map(|w| evidence::resolve(w, &case.files)).collect()
}

/// Files that the step's line names.
fn arguments(case: &Case) -> Vec<String> {
    let mut found = Vec::new();
    for invocation in invocations(&case.step.run) {
        let words = invocation.starts_with.iter().chain(&invocation.args);
        for word in words {
            let word = word.trim_matches(['\'', '"']).trim_start_matches("./");
            let module = word.replace('.', "/") + ".py";
            for path in [word, module.as_str()] {
                let rooted = match invocation.folder.as_str() {
                    "" => path.to_owned(),
                    folder => format!("{folder}/{path}"),
                };
                found.push(rooted);
            }
        }
    }
    found
}

/// What a test file is about, by its name: `tests/test_a.py` is about an `a.py`.
fn subjects<'a>(test: &str, files: &'a [String]) -> Vec<&'a str> {
    let name = test.rsplit('/').next().unwrap_or(test);
    let stem = name.split('.').next().unwrap_or(name);
    let bare = stem
        .trim_start_matches("test_")
        .trim_end_matches("_test")
        .trim_end_matches("_spec")
        .trim_end_matches("Test")
        .trim_end_matches("_tests");
    let about = |f: &&String| {
        let other = f.rsplit('/').next().unwrap_or(f);
        !is_test_path(f) && is_source(f) && other.split('.').next() == Some(bare)
    };
    files.iter().filter(about).map(String::as_str).collect()
}
