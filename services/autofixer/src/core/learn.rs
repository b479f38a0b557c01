//! What the past says about fixers: it may put them in another order or let one rest, and it may bring
//! an accepted patch back. It never widens what a fixer may change, nor how far it is trusted.

use super::patch::Patch;
use super::registry::Candidate;
use meta_domain::autofix::{Case, ContextPlan, FixerCommand, FixerFile, FixerKind, FixerSafety};
use meta_domain::failure::FailureType;
use meta_domain::status::words;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// What came of a fixer's patch.
    FixOutcome {
        /// Verified and committed.
        Accepted = "accepted",
        /// A human approved it.
        Approved = "approved",
        /// A human rejected it.
        Rejected = "rejected",
        /// The step still failed with it.
        VerifyFail = "verify_fail",
        /// The guard refused it.
        GuardReject = "guard_reject",
        /// There was no patch.
        NoChange = "no_change",
        /// The fixer could not work.
        FixerError = "fixer_error",
        /// It was committed and taken back later.
        Reverted = "reverted",
    }
}

/// Outcomes that are needed before they overrule the shipped order.
pub const OUTCOMES_MIN: usize = 5;
/// Failed verifications in a row on one failure after which a fixer rests.
const FAILURES_TO_MUTE: usize = 3;
/// How long it rests, in milliseconds.
const MUTE_MS: i64 = 24 * 3_600_000;
/// Age at which an outcome counts half, in milliseconds.
const HALF_LIFE_MS: f64 = 30.0 * 24.0 * 3_600_000.0;
/// How much a patch that was taken back weighs.
const REVERTED_WEIGHT: f64 = 3.0;
/// Successes and failures that every fixer is credited with.
const PRIOR: (f64, f64) = (1.0, 1.0);
/// Steps in which scores are compared: less is noise.
const SCORE_STEP: f64 = 0.05;
/// Patches that are brought back for one failure at most.
const REPLAYS_MAX: usize = 2;
/// Time limit of a replay, in milliseconds.
const REPLAY_TIMEOUT_MS: u64 = 30_000;

/// One remembered outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The failure's fingerprint.
    pub fingerprint: String,
    /// Its type.
    pub failure_type: FailureType,
    /// The tool that failed.
    pub tool: String,
    /// The fixer.
    pub fixer: String,
    /// What came of it.
    pub outcome: FixOutcome,
    /// When.
    pub at: Timestamp,
}

/// A patch that healed a failure before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// The fixer that made it.
    pub fixer: String,
    /// The patch.
    pub patch: String,
    /// Its SHA-256 in hex.
    pub sha256: String,
    /// Whether a human approved it: then a human is asked again.
    pub approved: bool,
}

/// What is remembered about failures like a case's, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Outcomes of the same failure, or of the same tool and type.
    pub records: Vec<Record>,
    /// Patches that healed this very failure.
    pub healed: Vec<Healed>,
    /// Now.
    pub now: Timestamp,
}

impl Memory {
    /// How often a fixer helped on such failures, 0 to 1; `None` without enough of a past. The same
    /// failure counts first, then the same tool and type.
    pub fn success(&self, case: &Case, fixer: &str) -> Option<f64> {
        let of_fixer: Vec<&Record> = self.records.iter().filter(|r| r.fixer == fixer).collect();
        let same: Vec<&Record> =
            of_fixer.iter().copied().filter(|r| r.fingerprint == case.signal.fingerprint).collect();
        let alike: Vec<&Record> = of_fixer
            .into_iter()
            .filter(|r| r.failure_type == case.signal.failure_type && r.tool == case.signal.tool)
            .collect();
        [same, alike].into_iter().find(|found| found.len() >= OUTCOMES_MIN).map(|found| {
            let (mut good, mut bad) = PRIOR;
            for record in found {
                let weight = self.weight(record.at);
                match record.outcome {
                    FixOutcome::Accepted | FixOutcome::Approved => good += weight,
                    FixOutcome::Reverted => bad += REVERTED_WEIGHT * weight,
                    FixOutcome::Rejected
                    | FixOutcome::VerifyFail
                    | FixOutcome::GuardReject
                    | FixOutcome::NoChange
                    | FixOutcome::FixerError => bad += weight,
                }
            }
            good / (good + bad)
        })
    }

    /// Weight of an outcome by its age.
    fn weight(&self, at: Timestamp) -> f64 {
        let age = self.now.0.saturating_sub(at.0).max(0);
        let days = i32::try_from(age / 3_600_000).unwrap_or(i32::MAX);
        0.5_f64.powf(f64::from(days) * 3_600_000.0 / HALF_LIFE_MS)
    }

    /// Why a fixer rests on this failure.
    pub fn muted(&self, case: &Case, fixer: &str) -> Option<String> {
        let here = self
            .records
            .iter()
            .filter(|r| r.fixer == fixer && r.fingerprint == case.signal.fingerprint);
        let newest: Vec<&Record> = here.take(FAILURES_TO_MUTE).collect();
        let failed = newest.len() == FAILURES_TO_MUTE
            && newest.iter().all(|r| r.outcome == FixOutcome::VerifyFail);
        let age = self.now.0.saturating_sub(newest.first()?.at.0);
        (failed && age < MUTE_MS).then(|| {
            format!("its last {FAILURES_TO_MUTE} patches for this failure did not help; it rests for a day")
        })
    }

    /// Candidates as the past ranks them, without those that rest. One without enough of a past keeps
    /// its place against others of that kind.
    pub fn ranked(&self, case: &Case, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let mut ranked: Vec<(i64, Candidate)> = candidates
            .into_iter()
            .filter(|c| self.muted(case, &c.command.id).is_none())
            .map(|c| (steps(self.success(case, &c.command.id).unwrap_or(0.5)), c))
            .collect();
        ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        ranked.into_iter().map(|(_, c)| c).collect()
    }

    /// Patches that healed this failure before, as fixers: each only where its maker claims the
    /// failure now, with its maker's grant, and never with more trust than its maker has.
    pub fn replays(&self, case: &Case, claimed: &[Candidate]) -> Vec<Candidate> {
        let maker = |healed: &Healed| claimed.iter().find(|c| c.command.id == healed.fixer);
        self.healed
            .iter()
            .filter_map(|healed| replay(healed, &maker(healed)?.command))
            .filter(|command| self.muted(case, &command.id).is_none())
            .take(REPLAYS_MAX)
            .map(|command| Candidate { order: 0, command })
            .collect()
    }
}

/// A score in steps that are told apart.
fn steps(score: f64) -> i64 {
    let rounded = (score.clamp(0.0, 1.0) / SCORE_STEP).round();
    (0..=20).find(|n| f64::from(*n) >= rounded).map_or(20, i64::from)
}

/// A patch as a fixer: it is laid down only where every file is as it was.
fn replay(healed: &Healed, maker: &FixerCommand) -> Option<FixerCommand> {
    let checks = pre_images(&healed.patch)?;
    let safety = if healed.approved { FixerSafety::ApprovalAlways } else { maker.safety };
    Some(FixerCommand {
        id: format!("replay_{}", healed.sha256.get(..12)?),
        title: format!("the patch that healed this before ({})", maker.title),
        script: format!(
            "set -u\nsame() {{\n  case \"$(git hash-object -- \"$1\" 2>/dev/null)\" in\n    \"$2\"*) ;;\n    \
             *) echo \"$1 is not as it was\"; exit 3 ;;\n  esac\n}}\nabsent() {{\n  if [ -e \"$1\" ] || [ -L \"$1\" ]; then\n    \
             echo \"$1 is there already\"; exit 3\n  fi\n}}\n{checks}git apply --whitespace=nowarn \
             \"$STATE_DIR/replay.patch\" || exit 3\n"
        ),
        files: vec![FixerFile { name: "replay.patch".to_owned(), contents: healed.patch.clone() }],
        network: false,
        timeout_ms: REPLAY_TIMEOUT_MS,
        safety,
        grant: maker.grant.clone(),
        kind: FixerKind::Script,
        context: ContextPlan::default(),
        sarif: false,
    })
}

/// Shell lines that hold the patch's files against what they were; `None` when it does not say.
fn pre_images(patch: &str) -> Option<String> {
    let mut checks = String::new();
    for file in Patch::parse(patch).ok()?.files {
        match (&file.old, &file.old_id) {
            (None, _) => {
                let new = super::command::quoted(file.new.as_deref()?);
                checks.push_str(&format!("absent {new}\n"));
            }
            (Some(old), Some(id)) if id.len() >= ID_CHARS_MIN => {
                checks.push_str(&format!("same {} {id}\n", super::command::quoted(old)));
            }
            (Some(_), _) => return None,
        }
    }
    (!checks.is_empty()).then_some(checks)
}

/// Digits of a blob id that are enough to know a file by.
const ID_CHARS_MIN: usize = 7;

#[cfg(test)]
mod tests;
