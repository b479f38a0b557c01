//! The fixers in force: loaded from TOML, checked by their own examples, asked for claims.

use super::command::{Invocation, invocations};
use super::fixer::{Claim, Claimed, Fixer, FixerFileToml};
use super::model::{self, Terms};
use super::{evidence, render};
use meta_domain::autofix::{
    Case, ContextPlan, FixerCommand, FixerFile, FixerKind, FixerSafety, PathGrant,
};
use meta_domain::failure::FailureType;
use meta_domain::fault::InvalidField;

/// The fixer files that are part of the product.
const BUILTIN: &[(&str, &str)] = &[
    ("c.toml", include_str!("../../fixers/c.toml")),
    ("general.toml", include_str!("../../fixers/general.toml")),
    ("go.toml", include_str!("../../fixers/go.toml")),
    ("locks.toml", include_str!("../../fixers/locks.toml")),
    ("more_formatters.toml", include_str!("../../fixers/more_formatters.toml")),
    ("python.toml", include_str!("../../fixers/python.toml")),
    ("rust.toml", include_str!("../../fixers/rust.toml")),
    ("shell.toml", include_str!("../../fixers/shell.toml")),
    ("sql.toml", include_str!("../../fixers/sql.toml")),
    ("upgrades.toml", include_str!("../../fixers/upgrades.toml")),
    ("web.toml", include_str!("../../fixers/web.toml")),
];

/// The scripts that they may ask for.
const SCRIPTS: &[(&str, &str)] = &[
    ("cargo_args.sh", include_str!("../../fixers/scripts/cargo_args.sh")),
    ("cargo_add.py", include_str!("../../fixers/scripts/cargo_add.py")),
    ("py_imports.py", include_str!("../../fixers/scripts/py_imports.py")),
    ("py_requirement.py", include_str!("../../fixers/scripts/py_requirement.py")),
    ("rustc_suggestions.py", include_str!("../../fixers/scripts/rustc_suggestions.py")),
    ("twins.sh", include_str!("../../fixers/scripts/twins.sh")),
    ("ts_codefix.mjs", include_str!("../../fixers/scripts/ts_codefix.mjs")),
];

/// Id of the step's own `fix`.
pub const STEP_FIX: &str = "step";
/// Id of the combined run of all claimed fixers.
pub const ALL_OF: &str = "all_of";
/// Id of the combined run that also has the fixers of last resort.
pub const ALL_OF_UNSAFE: &str = "all_of_unsafe";
/// Fixers from here on are of last resort: tools that are less sure of themselves.
const LAST_RESORT_ORDER: u32 = 40;
/// Time limit of a step's own `fix` and of a combined run, in milliseconds.
const LONG_TIMEOUT_MS: u64 = 600_000;
/// Claims that are not for the tool that failed are moved back by this much.
const OTHER_TOOL_ORDER: u32 = 5;
/// What a step's own `fix` may change beyond the plan's paths: source files, wherever they are.
const SOURCE_GLOBS: &[&str] = &[
    "**/*.{rs,py,pyi,js,jsx,mjs,cjs,ts,tsx,mts,cts,vue,svelte,css,scss,less,html,md,mdx,go,c,h,cc}",
    "**/*.{cpp,hpp,cxx,hxx,java,kt,rb,php,swift,cs,sh,bash,sql,proto,graphql,tf,lua,ex,exs,snap}",
];

/// The fixers in force.
#[derive(Debug, Clone)]
pub struct Registry {
    fixers: Vec<Fixer>,
    model: Option<Terms>,
}

/// A fixer that claims a failure, with the reason and the script.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Place in the order; smaller is tried earlier.
    pub order: u32,
    /// Ready to be run.
    pub command: FixerCommand,
}

impl Registry {
    /// The fixers that are part of the product.
    ///
    /// # Errors
    /// Every fault of every fixer; a test holds that there is none.
    pub fn builtin() -> Result<Self, Vec<InvalidField>> {
        Self::load(BUILTIN)
    }

    /// Fixers of `(file name, TOML text)` pairs; every fixer's examples are checked.
    ///
    /// # Errors
    /// Every fault at once, each with the file, the fixer and the field.
    pub fn load(sources: &[(&str, &str)]) -> Result<Self, Vec<InvalidField>> {
        let mut fixers: Vec<Fixer> = Vec::new();
        let mut faults = Vec::new();
        for (file, text) in sources {
            let parsed: FixerFileToml = match toml::from_str(text) {
                Ok(parsed) => parsed,
                Err(error) => {
                    faults.push(InvalidField::new(*file, error.to_string().trim_end()));
                    continue;
                }
            };
            for (index, table) in parsed.fixer.into_iter().enumerate() {
                match table.checked(&format!("{file}: fixer[{index}]")) {
                    Ok(fixer) => fixers.push(fixer),
                    Err(mut found) => faults.append(&mut found),
                }
            }
        }
        fixers.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        let registry = Self { fixers, model: None };
        faults.extend(registry.faults());
        if faults.is_empty() { Ok(registry) } else { Err(faults) }
    }

    /// The product's fixers and others, as `(file name, TOML text)` pairs.
    ///
    /// # Errors
    /// Every fault at once, each with the file, the fixer and the field.
    pub fn with_own(own: &[(&str, &str)]) -> Result<Self, Vec<InvalidField>> {
        let all: Vec<(&str, &str)> = BUILTIN.iter().chain(own).copied().collect();
        Self::load(&all)
    }

    /// The same with a model behind the fixers.
    #[must_use]
    pub fn with_model(mut self, terms: Option<Terms>) -> Self {
        self.model = terms;
        self
    }

    /// The model as a fixer for a case, when there is one and a patch can be its answer.
    pub fn model(&self, case: &Case) -> Option<FixerCommand> {
        self.model.as_ref().and_then(|terms| model::fixer(case, terms))
    }

    /// Each fixer that does not claim a case, with the reason.
    pub fn passing(&self, case: &Case) -> Vec<(&Fixer, String)> {
        let found = invocations(&case.step.run);
        let text = evidence::text(case);
        let claimed = Claimed {
            failure_type: case.signal.failure_type,
            tool: &case.signal.tool,
            invocations: &found,
            evidence: &text,
            files: &case.files,
        };
        self.fixers.iter().filter_map(|f| Some((f, f.passes_because(&claimed)?))).collect()
    }

    /// All fixers, in the order in which they are tried.
    pub fn fixers(&self) -> &[Fixer] {
        &self.fixers
    }

    /// The fixers that may stand in for a check.
    pub(super) fn twins(&self) -> Vec<&Fixer> {
        self.fixers.iter().filter(|f| f.is_twin()).collect()
    }

    /// Faults that only show when all fixers are together, and examples that do not hold.
    fn faults(&self) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        for (index, fixer) in self.fixers.iter().enumerate() {
            let path = format!("fixer {}", fixer.id);
            let taken = self.fixers[..index].iter().any(|f| f.id == fixer.id);
            if taken
                || fixer.id == STEP_FIX
                || fixer.id == ALL_OF
                || fixer.id == ALL_OF_UNSAFE
                || model::is_model(&fixer.id)
                || fixer.id.starts_with("replay")
            {
                faults
                    .push(InvalidField::new(format!("{path}.id"), "is taken (expected a new id)"));
            }
            for name in &fixer.scripts {
                if !SCRIPTS.iter().any(|(n, _)| n == name) {
                    faults.push(InvalidField::new(
                        format!("{path}.scripts"),
                        format!("{name:?} is not an embedded script"),
                    ));
                }
            }
            let broken =
                super::check::examples(fixer, &self.twins()).into_iter().filter(|r| !r.passed);
            faults.extend(
                broken.map(|r| InvalidField::new(format!("{path}.example[{}]", r.index), r.detail)),
            );
        }
        faults
    }

    /// The fixers that claim a case, best first; the combined run of several comes last.
    pub fn claims(&self, case: &Case) -> Vec<Candidate> {
        let found = invocations(&case.step.run);
        let located = evidence::located_files(case);
        let text = evidence::text(case);
        let claimed = Claimed {
            failure_type: case.signal.failure_type,
            tool: &case.signal.tool,
            invocations: &found,
            evidence: &text,
            files: &case.files,
        };
        let command = case.step.run.to_string();
        let twins = self.twins();
        let scene = render::Scene {
            command: &command,
            invocations: &found,
            located: &located,
            twins: &twins,
        };
        let started = |f: &Fixer| !f.wraps && f.claims(&claimed) == Some(Claim::Invoked);
        let plain = self.fixers.iter().any(started);
        let mut candidates: Vec<Candidate> = step_fix(case).into_iter().collect();
        let mut stacked: Vec<&Fixer> = Vec::new();
        for fixer in &self.fixers {
            let Some(claim) = fixer.claims(&claimed) else { continue };
            if fixer.wraps && plain {
                continue;
            }
            if fixer.stack > 0 && claim != Claim::Named {
                stacked.push(fixer);
            }
            let failed_tool = case.signal.tool.is_empty()
                || fixer.wraps
                || fixer.tools.contains(&case.signal.tool);
            candidates.push(Candidate {
                order: fixer.order + if failed_tool { 0 } else { OTHER_TOOL_ORDER },
                command: single(fixer, &scene),
            });
        }
        candidates.sort_by_key(|c| c.order);
        let sure: Vec<&Fixer> =
            stacked.iter().copied().filter(|f| f.order < LAST_RESORT_ORDER).collect();
        let several = sure.len() >= 2 && sure.len() < stacked.len();
        let more = several.then(|| combined(ALL_OF_UNSAFE, stacked, &scene));
        candidates.extend(combined(ALL_OF, sure, &scene));
        candidates.extend(more.flatten());
        let hidden = found.iter().any(|i| i.open_ended);
        let later = self.fixers.iter().filter(|f| f.wraps && plain && hidden);
        let later = later.filter(|f| f.failure_types.contains(&case.signal.failure_type));
        candidates.extend(later.map(|f| Candidate { order: u32::MAX, command: single(f, &scene) }));
        candidates
    }
}

/// The step's own writable twin. It never answers a remote's trouble.
fn step_fix(case: &Case) -> Option<Candidate> {
    let fix = case.step.fix.as_deref().filter(|f| !f.trim().is_empty())?;
    let safety = match case.signal.failure_type {
        FailureType::Transient | FailureType::RateLimit => return None,
        FailureType::Security | FailureType::Policy => FixerSafety::ApprovalAlways,
        FailureType::TestAssert | FailureType::Runtime | FailureType::SchemaMigration => {
            FixerSafety::Guarded
        }
        FailureType::Infra | FailureType::Typecheck | FailureType::Lint | FailureType::Unknown => {
            FixerSafety::Safe
        }
    };
    let add = SOURCE_GLOBS.iter().map(|g| (*g).to_owned()).collect();
    Some(Candidate {
        order: 0,
        command: FixerCommand {
            id: STEP_FIX.to_owned(),
            title: format!("the step's own fix ({fix})"),
            script: fix.to_owned(),
            files: Vec::new(),
            network: case.step.network,
            timeout_ms: LONG_TIMEOUT_MS,
            safety,
            grant: PathGrant { add, modes: false, files_max: 60, lines_max: 6000 },
            kind: FixerKind::Script,
            context: ContextPlan::default(),
            sarif: false,
        },
    })
}

fn single(fixer: &Fixer, scene: &render::Scene<'_>) -> FixerCommand {
    FixerCommand {
        id: fixer.id.clone(),
        title: fixer.title.clone(),
        script: render::script(&[fixer], scene),
        files: files_of(&[fixer]),
        network: false,
        timeout_ms: fixer.timeout_ms,
        safety: fixer.safety,
        grant: fixer.grant.clone(),
        kind: FixerKind::Script,
        context: ContextPlan::default(),
        sarif: fixer.sarif,
    }
}

fn files_of(fixers: &[&Fixer]) -> Vec<FixerFile> {
    let asked = |name: &str| fixers.iter().any(|f| f.scripts.iter().any(|s| s == name));
    SCRIPTS
        .iter()
        .filter(|(name, _)| asked(name))
        .map(|(name, text)| FixerFile { name: (*name).to_owned(), contents: (*text).to_owned() })
        .collect()
}

/// All stackable fixers on one copy: a step of several checks may need several of them at once.
fn combined(id: &str, mut fixers: Vec<&Fixer>, scene: &render::Scene<'_>) -> Option<Candidate> {
    if fixers.len() < 2 {
        return None;
    }
    fixers.sort_by(|a, b| (a.stack, &a.id).cmp(&(b.stack, &b.id)));
    let mut grant = PathGrant::default();
    for fixer in &fixers {
        grant.add.extend(fixer.grant.add.iter().cloned());
        grant.modes |= fixer.grant.modes;
        grant.files_max = grant.files_max.max(fixer.grant.files_max);
        grant.lines_max = grant.lines_max.max(fixer.grant.lines_max);
    }
    let guarded = fixers.iter().any(|f| f.safety == FixerSafety::Guarded);
    let unsafe_ = fixers.iter().any(|f| f.safety == FixerSafety::Unsafe);
    let titles: Vec<&str> = fixers.iter().map(|f| f.title.as_str()).collect();
    Some(Candidate {
        order: u32::MAX,
        command: FixerCommand {
            id: id.to_owned(),
            title: titles.join(", then "),
            script: render::script(&fixers, scene),
            files: files_of(&fixers),
            network: false,
            timeout_ms: LONG_TIMEOUT_MS,
            safety: match (guarded, unsafe_) {
                (true, _) => FixerSafety::Guarded,
                (false, true) => FixerSafety::Unsafe,
                (false, false) => FixerSafety::Safe,
            },
            grant,
            kind: FixerKind::Script,
            context: ContextPlan::default(),
            sarif: fixers.iter().any(|f| f.sarif),
        },
    })
}

/// The invocations of a line, for examples.
pub(super) fn claim_of_example(
    fixer: &Fixer,
    example: &super::fixer::Example,
    twins: &[&Fixer],
) -> (Option<Claim>, String) {
    let found: Vec<Invocation> =
        invocations(&meta_domain::plan::Command::Shell(example.command.clone()));
    let claim = fixer.claims(&Claimed {
        failure_type: example.failure_type,
        tool: &example.tool,
        invocations: &found,
        evidence: &example.evidence,
        files: &example.files,
    });
    let scene =
        render::Scene { command: &example.command, invocations: &found, located: &[], twins };
    (claim, render::script(&[fixer], &scene))
}

#[cfg(test)]
mod tests;
