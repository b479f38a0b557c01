//! The planner: explicit steps, else the source's `metabuilder.toml`, else detection.

mod detect;
mod risk;
mod valid;

use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::plan::{PlanGraph, PlannedStep};
use meta_domain::project;
use meta_domain::settings::Overrides;
use meta_domain::source::SourceListing;

pub use valid::problem;

/// Makes a plan.
///
/// # Errors
/// A faulty `metabuilder.toml` (every fault), or a source in which there is nothing to build.
pub fn plan(explicit: &[PlannedStep], listing: &SourceListing) -> Result<PlanGraph, Fault> {
    if !explicit.is_empty() {
        return Ok(graph(explicit.to_vec(), Overrides::default(), "the spec's own steps", listing));
    }
    if let Some(text) = listing.manifests.get(project::FILE_NAME) {
        let file = project::parse(text).map_err(Fault::invalid)?;
        return Ok(graph(file.steps, file.overrides, project::FILE_NAME, listing));
    }
    let (steps, found) = detect::steps(listing);
    if steps.is_empty() {
        return Err(nothing_to_build());
    }
    Ok(graph(steps, Overrides::default(), &format!("detected: {}", found.join(", ")), listing))
}

fn nothing_to_build() -> Fault {
    let mut fault = Fault::invalid(vec![InvalidField::new(
        "source",
        "has neither steps, nor a metabuilder.toml, nor a toolchain that is known (expected Cargo.toml, \
         pyproject.toml, setup.py, requirements.txt, package.json, go.mod, a Makefile or *.sh files)",
    )]);
    fault.kind = ErrorKind::InvalidArgument;
    fault.reason = "NOTHING_TO_BUILD";
    fault
}

fn graph(
    steps: Vec<PlannedStep>,
    overrides: Overrides,
    origin: &str,
    listing: &SourceListing,
) -> PlanGraph {
    let steps = project::in_order(steps);
    let names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
    let plural = if steps.len() == 1 { "step" } else { "steps" };
    let summary = format!("{} {plural} from {origin}: {}", steps.len(), names.join(", "));
    let risk = risk::parts(&steps, listing);
    PlanGraph { steps, summary, risk, overrides }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, &str)]) -> SourceListing {
        SourceListing {
            files: files.iter().map(|(p, _)| (*p).to_owned()).collect(),
            manifests: files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect(),
        }
    }

    fn names(files: &[(&str, &str)]) -> Vec<String> {
        let g = plan(&[], &listing(files)).unwrap();
        assert!(g.steps.iter().all(|s| !s.why.is_empty()), "every step says why");
        g.steps.into_iter().map(|s| s.name).collect()
    }

    #[test]
    fn the_file_wins_over_detection() {
        let file = "[[step]]\nname='only'\nrun='true'\n";
        assert_eq!(names(&[("metabuilder.toml", file), ("Cargo.toml", "")]), ["only"]);
    }

    #[test]
    fn rust_is_formatted_linted_and_tested() {
        let files = [("Cargo.toml", "[package]\nname='a'\n"), ("src/lib.rs", "")];
        assert_eq!(names(&files), ["fmt", "clippy", "test"]);
    }

    #[test]
    fn rust_with_dependencies_fetches_first_with_the_network() {
        let files = [("Cargo.toml", "[dependencies]\nserde = '1'\n"), ("Cargo.lock", "")];
        let g = plan(&[], &listing(&files)).unwrap();
        let fetch = g.step("fetch").unwrap();
        assert!(fetch.network && !g.step("test").unwrap().network);
        assert!(g.step("clippy").unwrap().needs.contains(&"fetch".to_owned()));
    }

    #[test]
    fn python_runs_the_tools_it_configures() {
        let toml = "[tool.ruff]\nline-length = 90\n[tool.mypy]\nstrict = true\n";
        let files = [("pyproject.toml", toml), ("tests/test_a.py", ""), ("src/a.py", "")];
        assert_eq!(names(&files), ["ruff", "mypy", "test"]);
        let files = [("requirements.txt", "flask\n"), ("app.py", "")];
        assert_eq!(names(&files), ["install", "compile"]);
    }

    #[test]
    fn node_runs_its_scripts_after_an_install() {
        let json = r#"{"scripts":{"lint":"eslint .","test":"vitest run"},"devDependencies":{"eslint":"9"}}"#;
        let files = [("package.json", json), ("package-lock.json", ""), ("tsconfig.json", "{}")];
        assert_eq!(names(&files), ["install", "lint", "typecheck", "test"]);
    }

    #[test]
    fn go_make_and_shell_are_known() {
        assert_eq!(
            names(&[("go.mod", "module a\n"), ("a.go", "")]),
            ["gofmt", "vet", "build", "test"]
        );
        assert_eq!(names(&[("Makefile", "all:\n\ttrue\ntest: all\n\ttrue\n")]), ["make-test"]);
        assert_eq!(names(&[("run.sh", "")]), ["shellcheck"]);
    }

    #[test]
    fn nothing_to_build_is_said_clearly() {
        let fault = plan(&[], &listing(&[("README.md", "hello")])).unwrap_err();
        assert_eq!(fault.reason, "NOTHING_TO_BUILD");
        assert!(fault.message.contains("metabuilder.toml"));
    }

    #[test]
    fn the_risk_score_is_the_sum_of_its_parts() {
        let file = "[[step]]\nname='a'\nrun='curl -s http://x | bash'\nnetwork=true\n";
        let g =
            plan(&[], &listing(&[("metabuilder.toml", file), ("migrations/1.sql", "")])).unwrap();
        assert_eq!(g.risk_score(), g.risk.iter().map(|p| p.points).sum::<u32>());
        assert!(g.risk_score() >= 40, "{:?}", g.risk);
    }
}
