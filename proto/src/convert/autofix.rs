//! Cases, decisions, fixers and attempts.

use super::{Field, Number, Required, all, enum_map, list, word};
use crate::common as pb;
use meta_domain::autofix::{
    Case, ContextPlan, Decision, FileEdit, FixTry, FixerCommand, FixerFile, FixerKind, FixerSafety,
    Outcome, PastAttempt, PathGrant, SourceFile, Strategy, TryVerdict, WantedFile,
};
use meta_domain::failure::FailureType;
use meta_domain::fault::InvalidField;
use meta_domain::plan::PlannedStep;
use meta_domain::signal::Signal;

enum_map!(
    Strategy,
    pb::Strategy,
    [RetryStep, FixSpecificIssue, RegenerateCode, RePlan, Rollback, ManualIntervention, None]
);
enum_map!(Outcome, pb::Outcome, [Retried, PatchApplied, Replanned, Escalated, GaveUp]);
enum_map!(FixerSafety, pb::FixerSafety, [Safe, Unsafe, Guarded, ApprovalAlways]);
enum_map!(
    TryVerdict,
    pb::TryVerdict,
    [Accepted, NeedsApproval, NoChange, GuardReject, VerifyFail, FixerError]
);

enum_map!(FixerKind, pb::FixerKind, [Script, Model]);

impl From<ContextPlan> for pb::ContextPlan {
    fn from(p: ContextPlan) -> Self {
        let wanted = |f: WantedFile| pb::WantedFile { path: f.path, read_only: f.read_only };
        Self {
            files: p.files.into_iter().map(wanted).collect(),
            file_bytes_max: p.file_bytes_max,
            bytes_max: p.bytes_max,
        }
    }
}

impl From<pb::ContextPlan> for ContextPlan {
    fn from(p: pb::ContextPlan) -> Self {
        let wanted = |f: pb::WantedFile| WantedFile { path: f.path, read_only: f.read_only };
        Self {
            files: p.files.into_iter().map(wanted).collect(),
            file_bytes_max: p.file_bytes_max,
            bytes_max: p.bytes_max,
        }
    }
}

impl From<SourceFile> for pb::SourceFile {
    fn from(f: SourceFile) -> Self {
        Self { path: f.path, contents: f.contents }
    }
}

impl From<pb::SourceFile> for SourceFile {
    fn from(f: pb::SourceFile) -> Self {
        Self { path: f.path, contents: f.contents }
    }
}

impl From<FileEdit> for pb::FileEdit {
    fn from(e: FileEdit) -> Self {
        Self { path: e.path, contents: e.contents }
    }
}

impl From<pb::FileEdit> for FileEdit {
    fn from(e: pb::FileEdit) -> Self {
        Self { path: e.path, contents: e.contents }
    }
}

impl From<FixerFile> for pb::FixerFile {
    fn from(f: FixerFile) -> Self {
        Self { name: f.name, contents: f.contents }
    }
}

impl TryFrom<pb::FixerFile> for FixerFile {
    type Error = InvalidField;
    fn try_from(f: pb::FixerFile) -> Result<Self, InvalidField> {
        let plain = !f.name.is_empty() && !f.name.contains(['/', '\0']) && !f.name.starts_with('.');
        if plain {
            Ok(Self { name: f.name, contents: f.contents })
        } else {
            let problem = format!("{:?} is not a plain file name", f.name);
            Err(InvalidField::new("name", problem))
        }
    }
}

impl From<PathGrant> for pb::PathGrant {
    fn from(g: PathGrant) -> Self {
        Self { add: g.add, modes: g.modes, files_max: g.files_max, lines_max: g.lines_max }
    }
}

impl From<pb::PathGrant> for PathGrant {
    fn from(g: pb::PathGrant) -> Self {
        Self { add: g.add, modes: g.modes, files_max: g.files_max, lines_max: g.lines_max }
    }
}

impl From<FixerCommand> for pb::FixerCommand {
    fn from(f: FixerCommand) -> Self {
        Self {
            id: f.id,
            title: f.title,
            script: f.script,
            files: list(f.files),
            network: f.network,
            timeout_ms: f.timeout_ms,
            safety: f.safety.number(),
            grant: Some(f.grant.into()),
            kind: f.kind.number(),
            context: Some(f.context.into()),
            sarif: f.sarif,
        }
    }
}

impl TryFrom<pb::FixerCommand> for FixerCommand {
    type Error = InvalidField;
    fn try_from(f: pb::FixerCommand) -> Result<Self, InvalidField> {
        Ok(Self {
            id: f.id,
            title: f.title,
            script: f.script,
            files: all("files", f.files)?,
            network: f.network,
            timeout_ms: f.timeout_ms,
            safety: word("safety", f.safety)?,
            grant: f.grant.unwrap_or_default().into(),
            kind: super::word_opt("kind", f.kind)?.unwrap_or(FixerKind::Script),
            context: f.context.unwrap_or_default().into(),
            sarif: f.sarif,
        })
    }
}

impl From<FixTry> for pb::FixTry {
    fn from(t: FixTry) -> Self {
        Self {
            fixer: t.fixer,
            title: t.title,
            verdict: t.verdict.number(),
            detail: t.detail,
            patch_sha256: t.patch_sha256,
            files: t.files,
            added: t.added,
            removed: t.removed,
        }
    }
}

impl TryFrom<pb::FixTry> for FixTry {
    type Error = InvalidField;
    fn try_from(t: pb::FixTry) -> Result<Self, InvalidField> {
        Ok(Self {
            fixer: t.fixer,
            title: t.title,
            verdict: word("verdict", t.verdict)?,
            detail: t.detail,
            patch_sha256: t.patch_sha256,
            files: t.files,
            added: t.added,
            removed: t.removed,
        })
    }
}

impl From<PastAttempt> for pb::PastAttempt {
    fn from(a: PastAttempt) -> Self {
        Self {
            failure_type: a.failure_type.number(),
            fingerprint: a.fingerprint,
            strategy: a.strategy.number(),
            outcome: a.outcome.number(),
            tries: list(a.tries),
        }
    }
}

impl TryFrom<pb::PastAttempt> for PastAttempt {
    type Error = InvalidField;
    fn try_from(a: pb::PastAttempt) -> Result<Self, InvalidField> {
        Ok(Self {
            failure_type: word("failure_type", a.failure_type)?,
            fingerprint: a.fingerprint,
            strategy: word("strategy", a.strategy)?,
            outcome: word("outcome", a.outcome)?,
            tries: all("tries", a.tries)?,
        })
    }
}

impl From<Case> for pb::Case {
    fn from(c: Case) -> Self {
        Self {
            step: Some(c.step.into()),
            exit: Some(c.exit.into()),
            signal: Some(c.signal.into()),
            settings: Some(c.settings.into()),
            history: list(c.history),
            tried: list(c.tried),
            attempts_of_run: c.attempts_of_run,
            failure_types_of_run: c.failure_types_of_run.into_iter().map(Number::number).collect(),
            parallel_steps: c.parallel_steps,
            replans_of_run: c.replans_of_run,
            files: c.files,
            patched: c.patched,
            bot_commits_in_a_row: c.bot_commits_in_a_row,
            plan: list(c.plan),
            known_flaky: c.known_flaky,
        }
    }
}

impl TryFrom<pb::Case> for Case {
    type Error = InvalidField;
    fn try_from(c: pb::Case) -> Result<Self, InvalidField> {
        let types = c.failure_types_of_run.into_iter();
        Ok(Self {
            step: PlannedStep::try_from(c.step.required("step")?).field("step")?,
            exit: c.exit.required("exit")?.into(),
            signal: Signal::try_from(c.signal.required("signal")?).field("signal")?,
            settings: c.settings.required("settings")?.into(),
            history: all("history", c.history)?,
            tried: all("tried", c.tried)?,
            attempts_of_run: c.attempts_of_run,
            failure_types_of_run: types
                .map(|t| word::<FailureType>("failure_types_of_run", t))
                .collect::<Result<_, _>>()?,
            parallel_steps: c.parallel_steps,
            replans_of_run: c.replans_of_run,
            files: c.files,
            patched: c.patched,
            bot_commits_in_a_row: c.bot_commits_in_a_row,
            plan: all("plan", c.plan)?,
            known_flaky: c.known_flaky,
        })
    }
}

impl From<Decision> for pb::Decision {
    fn from(d: Decision) -> Self {
        use pb::decision::Strategy as W;
        let strategy = match d {
            Decision::RetryStep { backoff_ms, reason } => {
                W::RetryStep(pb::RetryStep { backoff_ms, reason })
            }
            Decision::FixSpecificIssue { fixers, reason } => {
                W::FixSpecificIssue(pb::FixSpecificIssue { fixers: list(fixers), reason })
            }
            Decision::RePlan { ops, triggered_by, reason } => {
                W::RePlan(pb::RePlan { ops: list(ops), triggered_by, reason })
            }
            Decision::Rollback { reason } => W::Rollback(pb::Rollback { reason }),
            Decision::ManualIntervention { gate, effect, reason } => {
                W::ManualIntervention(pb::ManualIntervention {
                    gate: gate.number(),
                    effect: effect.number(),
                    reason,
                })
            }
            Decision::GiveUp { reason } => W::GiveUp(pb::GiveUp { reason }),
        };
        Self { strategy: Some(strategy) }
    }
}

impl TryFrom<pb::Decision> for Decision {
    type Error = InvalidField;
    fn try_from(d: pb::Decision) -> Result<Self, InvalidField> {
        use pb::decision::Strategy as W;
        Ok(match d.strategy.required("strategy")? {
            W::RetryStep(r) => Self::RetryStep { backoff_ms: r.backoff_ms, reason: r.reason },
            W::FixSpecificIssue(f) => {
                Self::FixSpecificIssue { fixers: all("fixers", f.fixers)?, reason: f.reason }
            }
            W::RePlan(r) => Self::RePlan {
                ops: all("ops", r.ops)?,
                triggered_by: r.triggered_by,
                reason: r.reason,
            },
            W::Rollback(r) => Self::Rollback { reason: r.reason },
            W::ManualIntervention(m) => Self::ManualIntervention {
                gate: word("gate", m.gate)?,
                effect: word("effect", m.effect)?,
                reason: m.reason,
            },
            W::GiveUp(g) => Self::GiveUp { reason: g.reason },
        })
    }
}
