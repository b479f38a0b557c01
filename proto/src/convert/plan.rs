//! Plans, steps and sources.

use super::{Field, Number, Required, all, enum_map, list, word};
use crate::common as pb;
use meta_domain::fault::InvalidField;
use meta_domain::plan::{
    ApprovalMode, Command, PlanGraph, PlanOp, PlanOpKind, PlannedStep, RiskPart,
};
use meta_domain::source::{Source, SourceListing};

enum_map!(ApprovalMode, pb::ApprovalMode, [Never, Before, OnFix]);
enum_map!(
    PlanOpKind,
    pb::PlanOpKind,
    [CleanCache, Serialise, ExtendTimeout, InsertBefore, AddNeeds, SetEnv, MoveRunner, Split]
);

impl From<Command> for pb::Command {
    fn from(c: Command) -> Self {
        let kind = match c {
            Command::Shell(line) => pb::command::Kind::Shell(line),
            Command::Argv(words) => pb::command::Kind::Argv(pb::Argv { words }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = InvalidField;
    fn try_from(c: pb::Command) -> Result<Self, InvalidField> {
        Ok(match c.kind.required("kind")? {
            pb::command::Kind::Shell(line) => Self::Shell(line),
            pb::command::Kind::Argv(argv) => Self::Argv(argv.words),
        })
    }
}

impl From<PlannedStep> for pb::PlannedStep {
    fn from(s: PlannedStep) -> Self {
        Self {
            name: s.name,
            run: Some(s.run.into()),
            needs: s.needs,
            timeout_ms: s.timeout_ms,
            cache: s.cache,
            fix: s.fix,
            env: s.env.into_iter().collect(),
            network: s.network,
            writable: s.writable,
            approval: s.approval.number(),
            why: s.why,
            clean_cache: s.clean_cache,
            runs_on: s.runs_on,
        }
    }
}

impl TryFrom<pb::PlannedStep> for PlannedStep {
    type Error = InvalidField;
    fn try_from(s: pb::PlannedStep) -> Result<Self, InvalidField> {
        Ok(Self {
            name: s.name,
            run: Command::try_from(s.run.required("run")?).field("run")?,
            needs: s.needs,
            timeout_ms: s.timeout_ms,
            cache: s.cache,
            fix: s.fix,
            env: s.env.into_iter().collect(),
            network: s.network,
            writable: s.writable,
            approval: super::word_opt("approval", s.approval)?.unwrap_or(ApprovalMode::Never),
            why: s.why,
            clean_cache: s.clean_cache,
            runs_on: s.runs_on,
        })
    }
}

impl From<RiskPart> for pb::RiskPart {
    fn from(r: RiskPart) -> Self {
        Self { reason: r.reason, points: r.points }
    }
}

impl TryFrom<pb::RiskPart> for RiskPart {
    type Error = InvalidField;
    fn try_from(r: pb::RiskPart) -> Result<Self, InvalidField> {
        Ok(Self { reason: r.reason, points: r.points })
    }
}

impl From<PlanGraph> for pb::PlanGraph {
    fn from(g: PlanGraph) -> Self {
        Self {
            steps: list(g.steps),
            summary: g.summary,
            risk: list(g.risk),
            overrides: Some(g.overrides.into()),
        }
    }
}

impl TryFrom<pb::PlanGraph> for PlanGraph {
    type Error = InvalidField;
    fn try_from(g: pb::PlanGraph) -> Result<Self, InvalidField> {
        Ok(Self {
            steps: all("steps", g.steps)?,
            summary: g.summary,
            risk: all("risk", g.risk)?,
            overrides: g.overrides.unwrap_or_default().into(),
        })
    }
}

impl From<PlanOp> for pb::PlanOp {
    fn from(o: PlanOp) -> Self {
        Self {
            kind: o.kind.number(),
            step: o.step,
            timeout_ms: o.timeout_ms,
            insert: o.insert.map(Into::into),
            why: o.why,
            needs: o.needs,
            env: o.env.into_iter().collect(),
            parts: list(o.parts),
        }
    }
}

impl TryFrom<pb::PlanOp> for PlanOp {
    type Error = InvalidField;
    fn try_from(o: pb::PlanOp) -> Result<Self, InvalidField> {
        Ok(Self {
            kind: word("kind", o.kind)?,
            step: o.step,
            timeout_ms: o.timeout_ms,
            insert: o.insert.map(PlannedStep::try_from).transpose().field("insert")?,
            why: o.why,
            needs: o.needs,
            env: o.env.into_iter().collect(),
            parts: all("parts", o.parts)?,
        })
    }
}

impl From<Source> for pb::Source {
    fn from(s: Source) -> Self {
        let kind = match s {
            Source::Git { url, reference } => {
                pb::source::Kind::Git(pb::GitSource { url, r#ref: reference })
            }
            Source::Path { path } => pb::source::Kind::Path(pb::PathSource { path }),
            Source::Inline { files } => {
                pb::source::Kind::Inline(pb::InlineSource { files: files.into_iter().collect() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Source> for Source {
    type Error = InvalidField;
    fn try_from(s: pb::Source) -> Result<Self, InvalidField> {
        Ok(match s.kind.required("kind")? {
            pb::source::Kind::Git(git) => Self::Git { url: git.url, reference: git.r#ref },
            pb::source::Kind::Path(path) => Self::Path { path: path.path },
            pb::source::Kind::Inline(inline) => {
                Self::Inline { files: inline.files.into_iter().collect() }
            }
        })
    }
}

impl From<SourceListing> for pb::SourceListing {
    fn from(l: SourceListing) -> Self {
        Self { files: l.files, manifests: l.manifests.into_iter().collect() }
    }
}

impl From<pb::SourceListing> for SourceListing {
    fn from(l: pb::SourceListing) -> Self {
        Self { files: l.files, manifests: l.manifests.into_iter().collect() }
    }
}
