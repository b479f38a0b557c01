//! What a case's signal says, in the forms that fixers and rules ask for.

use meta_domain::autofix::Case;

/// Files that are handed to a fixer at most when the step's line names none.
const LOCATED_FILES_MAX: usize = 60;

/// Everything the signal says as lines of text: message, evidence, codes, and `exit code N`.
pub fn text(case: &Case) -> String {
    let mut lines = vec![case.signal.message.clone()];
    lines.extend(case.signal.evidence.iter().map(|e| e.text.clone()));
    lines.extend(
        case.signal.locations.iter().filter(|l| !l.code.is_empty()).map(|l| l.code.clone()),
    );
    if let Some(code) = case.exit.code {
        lines.push(format!("exit code {code}"));
    }
    lines.join("\n")
}

/// The workspace's own files that the signal names, in the order of the log.
pub fn located_files(case: &Case) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for location in &case.signal.locations {
        let Some(file) = resolve(&location.file, &case.files) else { continue };
        if !found.contains(&file) {
            found.push(file);
        }
        if found.len() == LOCATED_FILES_MAX {
            break;
        }
    }
    found
}

/// The workspace file that a printed path means: itself, or the only file that ends with it (a tool
/// prints paths relative to its own folder), or the longest file that the path ends with (absolute).
pub(super) fn resolve(printed: &str, files: &[String]) -> Option<String> {
    let wanted = printed.trim_start_matches("./").replace('\\', "/");
    if wanted.is_empty() {
        return None;
    }
    if let Some(exact) = files.iter().find(|f| **f == wanted) {
        return Some(exact.clone());
    }
    let below = format!("/{wanted}");
    let mut inside = files.iter().filter(|f| f.ends_with(&below));
    if let (Some(only), None) = (inside.next(), inside.next()) {
        return Some(only.clone());
    }
    let absolute = wanted.starts_with('/');
    files
        .iter()
        .filter(|f| absolute && wanted.ends_with(&format!("/{f}")))
        .max_by_key(|f| f.len())
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(printed: &str, expected: Option<&str>) {
        let files = ["src/a.py", "web/src/b.ts", "lib/src/b.ts", "web/c.ts"].map(str::to_owned);
        assert_eq!(resolve(printed, &files).as_deref(), expected, "{printed}");
    }

    #[test]
    fn printed_paths_are_found_in_the_workspace() {
        check("./src/a.py", Some("src/a.py"));
        check("/home/x/project/src/a.py", Some("src/a.py"));
        check("c.ts", Some("web/c.ts"));
        check("src/b.ts", None);
        check("/usr/lib/python3/os.py", None);
        check("", None);
    }
}
