//! The lines of the text display. Pure: a happening in, lines out.

use crate::patch::{printable, summary};
use crate::progress::{Failure, Healed, PlanStep, Progress};
use anstyle::{AnsiColor, Style};
use meta_domain::autofix::TryVerdict;
use meta_domain::failure::FailureType;
use meta_domain::gate::GateType;
use meta_domain::signal::EvidenceLine;

/// Columns of the step names at most.
const NAME_WIDTH_MAX: usize = 24;
/// Characters of a message on a step's own line at most.
const MESSAGE_CHARS_MAX: usize = 160;
/// Evidence lines shown at most; `why` shows all.
const EVIDENCE_LINES_MAX: usize = 8;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// No colours.
    pub fn plain() -> Self {
        Self { colour: false }
    }

    /// Terminal colours.
    pub fn coloured() -> Self {
        Self { colour: true }
    }

    /// Whether there are colours.
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// For what went well.
    pub fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// For what failed.
    pub fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    /// For what waits or was healed.
    pub fn note(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    /// For what is beside the point.
    pub fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// For what to look at.
    pub fn strong(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }
}

/// What the lines need to remember: the steps of the plan and which of them had their last word.
#[derive(Debug)]
pub struct Layout {
    paint: Paint,
    width: usize,
    open: Vec<String>,
}

impl Layout {
    /// A layout before the plan is known.
    pub fn new(paint: Paint) -> Self {
        Self { paint, width: 8, open: Vec::new() }
    }

    /// The colours.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// The lines of a happening. `all` also tells what a live display shows by its spinners.
    pub fn lines(&mut self, progress: &Progress, all: bool) -> Vec<String> {
        match progress {
            Progress::Plan { steps, risk_score, .. } => vec![self.plan(steps, *risk_score)],
            Progress::StepSucceeded { step, duration_ms, .. } => {
                self.close(step);
                let mark = self.paint.good("✔");
                vec![self.line(
                    &mark,
                    step,
                    Some(*duration_ms),
                    &success_note(progress, self.paint),
                )]
            }
            Progress::StepFailed { step, reason, failure, tries } => {
                self.close(step);
                self.step_failed(step, reason, failure.as_ref(), tries)
            }
            Progress::ApprovalNeeded { step, gate_type, reason, approve, .. } => {
                self.close(step);
                self.approval(step, *gate_type, reason, approve)
            }
            Progress::Failure(failure) if all => vec![self.failed_once(failure)],
            Progress::Replanned { step, ops, triggered_by, .. } => {
                let ops: Vec<_> = ops.iter().map(|op| format!("{} {}", op.kind, op.step)).collect();
                let note = format!("new plan ({triggered_by}): {}", ops.join(", "));
                vec![self.line(&self.paint.note("↻"), step, None, &note)]
            }
            Progress::RolledBack { step, reason, .. } => {
                vec![self.line(&self.paint.note("↶"), step, None, &format!("went back: {reason}"))]
            }
            Progress::Decided { step, approved, actor, .. } => {
                let word = if *approved { "approved" } else { "rejected" };
                vec![self.line(&self.paint.note("✋"), step, None, &format!("{word} by {actor}"))]
            }
            Progress::Log { step, text, .. } => text
                .lines()
                .map(|line| {
                    format!("   {} {}", self.paint.dim(&format!("{step} |")), printable(line))
                })
                .collect(),
            _ if all => self.busy(progress).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What goes on with a step, for a spinner or a plain line: step and text.
    pub fn doing(progress: &Progress) -> Option<(&str, String)> {
        Some(match progress {
            Progress::Fixing { step, fixers, .. } => (step, trying(fixers)),
            Progress::Fix {
                step,
                verdict: TryVerdict::Accepted | TryVerdict::NeedsApproval,
                ..
            } => (step, "verified".to_owned()),
            Progress::Fix { step, title, detail, verdict, .. } => {
                let detail = if detail.is_empty() { verdict.as_str() } else { detail };
                (step, format!("{title}: {}", short(detail)))
            }
            Progress::Retry { step, backoff_ms, .. } => {
                (step, format!("again in {}", seconds(*backoff_ms)))
            }
            Progress::Failure(failure) => (&failure.step, message(failure)),
            _ => return None,
        })
    }

    fn busy(&self, progress: &Progress) -> Option<String> {
        let (step, text) = Self::doing(progress)?;
        Some(self.line(&self.paint.dim("…"), step, None, &text))
    }

    /// The steps that were not reached.
    pub fn rest(&mut self) -> Vec<String> {
        let open = std::mem::take(&mut self.open);
        open.iter().map(|step| self.paint.dim(&format!(" · {step}"))).collect()
    }

    /// The line of a step that passed before.
    pub fn passed_before(&mut self, step: &str) -> String {
        self.close(step);
        let note = self.paint.dim("passed before");
        self.line(&self.paint.good("✔"), step, None, &note)
    }

    fn close(&mut self, step: &str) {
        self.open.retain(|name| name != step);
    }

    fn plan(&mut self, steps: &[PlanStep], risk: u32) -> String {
        let names = steps.iter().map(|s| s.name.chars().count());
        self.width = names.max().unwrap_or(0).clamp(8, NAME_WIDTH_MAX);
        self.open = steps.iter().map(|s| s.name.clone()).collect();
        let noun = if steps.len() == 1 { "step" } else { "steps" };
        let count = format!("{} {noun}", steps.len());
        let head = self.paint.strong("plan");
        format!(" {head}   {count}   {}   risk {risk}", flow(steps))
    }

    /// The name, filled up to the column of names.
    pub fn padded(&self, step: &str) -> String {
        format!("{step:<width$}", width = self.width)
    }

    /// ` ✔ fmt        0.4s   note`
    pub fn line(&self, mark: &str, step: &str, ms: Option<u64>, note: &str) -> String {
        let name = self.padded(step);
        let time = ms.map(seconds).unwrap_or_default();
        format!(" {mark} {name}  {time:>6}   {note}").trim_end().to_owned()
    }

    fn failed_once(&self, failure: &Failure) -> String {
        let mark = self.paint.bad("!");
        self.line(&mark, &failure.step, Some(failure.duration_ms), &message(failure))
    }

    fn step_failed(
        &self,
        step: &str,
        reason: &str,
        failure: Option<&Failure>,
        tries: &[String],
    ) -> Vec<String> {
        let mark = self.paint.bad("✘");
        let Some(failure) = failure else {
            return vec![self.line(&mark, step, None, &short(reason))];
        };
        let mut lines = vec![self.line(&mark, step, Some(failure.duration_ms), &message(failure))];
        lines.extend(evidence(self.paint, &failure.evidence, EVIDENCE_LINES_MAX));
        lines.push(detail(self.paint, "rule", &because(failure)));
        lines.extend(tries.iter().map(|t| detail(self.paint, "tried", t)));
        lines.push(detail(self.paint, "so", reason));
        lines
    }

    fn approval(&self, step: &str, gate: GateType, reason: &str, approve: &str) -> Vec<String> {
        let approve = self.paint.strong(approve);
        let note = format!("{gate} · waiting for approval  → {approve}");
        let mark = self.paint.note("✋");
        vec![self.line(&mark, step, None, &note), detail(self.paint, "why", reason)]
    }
}

fn detail(paint: Paint, head: &str, text: &str) -> String {
    format!("     {} {}", paint.dim(&format!("{head:<5}")), printable(text))
}

/// Evidence lines with their numbers.
pub fn evidence(paint: Paint, lines: &[EvidenceLine], max: usize) -> Vec<String> {
    let shown = lines.iter().take(max);
    let mut out: Vec<String> = shown
        .map(|e| format!("     {} {}", paint.dim(&format!("{:>5} |", e.line)), printable(&e.text)))
        .collect();
    if lines.len() > max {
        out.push(format!("           ... and {} lines more", lines.len() - max));
    }
    out
}

/// `gitleaks_finding, confidence 0.93 (gitleaks)`
pub fn because(failure: &Failure) -> String {
    let tool = if failure.tool.is_empty() { String::new() } else { format!(" ({})", failure.tool) };
    format!("{}, confidence {:.2}{tool}", failure.rule, failure.confidence)
}

fn message(failure: &Failure) -> String {
    format!("{} · {}", failure.kind, short(&failure.message))
}

fn short(text: &str) -> String {
    let line = printable(text.lines().next().unwrap_or_default());
    if line.chars().count() <= MESSAGE_CHARS_MAX {
        return line;
    }
    let cut: String = line.chars().take(MESSAGE_CHARS_MAX).collect();
    format!("{cut}…")
}

/// `trying rustfmt (and 2 more, if need be)`
fn trying(fixers: &[String]) -> String {
    match fixers {
        [] => "trying nothing".to_owned(),
        [only] => format!("trying {only}"),
        [first, more @ ..] => format!("trying {first} (and {} more, if need be)", more.len()),
    }
}

fn success_note(progress: &Progress, paint: Paint) -> String {
    let Progress::StepSucceeded {
        attempt,
        flaky,
        failed_before,
        backoff_ms,
        healed,
        accepted_by,
        ..
    } = progress
    else {
        return String::new();
    };
    let failed = |t: Option<FailureType>| t.map_or("", FailureType::as_str);
    if !accepted_by.is_empty() {
        let what = failed(*failed_before);
        return paint.note(&format!("{what} finding accepted by {accepted_by}"));
    }
    if !healed.is_empty() {
        let list: Vec<_> = healed.iter().map(healed_note).collect();
        return paint.note(&format!("healed: {}   (attempt {attempt})", list.join("; ")));
    }
    if *flaky {
        let after = seconds(*backoff_ms);
        let what = failed(*failed_before);
        return paint.note(&format!("flaky: {what} · passed on retry after {after}"));
    }
    match failed_before {
        Some(failure_type) if *backoff_ms > 0 => {
            let after = seconds(*backoff_ms);
            paint.note(&format!("retried: {failure_type} · passed on retry after {after}"))
        }
        Some(failure_type) => format!("passed after {failure_type}   (attempt {attempt})"),
        None => String::new(),
    }
}

fn healed_note(one: &Healed) -> String {
    let what = summary(one.files as usize, one.added, one.removed);
    format!("{} · {} · {what}", one.failure_type, one.by)
}

/// `0.4s`, `1m 05s`
pub fn seconds(ms: u64) -> String {
    let tenths = (ms + 50) / 100;
    match tenths {
        0..600 => format!("{}.{}s", tenths / 10, tenths % 10),
        _ => format!("{}m {:02}s", tenths / 600, tenths % 600 / 10),
    }
}

/// The steps as they follow each other; those that may run side by side are joined by `+`.
pub fn flow(steps: &[PlanStep]) -> String {
    let mut levels: Vec<Vec<&str>> = Vec::new();
    let level_of = |levels: &[Vec<&str>], name: &str| levels.iter().position(|l| l.contains(&name));
    for step in steps {
        let after = step.needs.iter().filter_map(|n| level_of(&levels, n)).max();
        let level = after.map_or(0, |l| l + 1);
        if levels.len() <= level {
            levels.push(Vec::new());
        }
        levels[level].push(&step.name);
    }
    levels.iter().map(|names| names.join(" + ")).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests;
