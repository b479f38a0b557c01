//! Which of the rules that fired decides.
//!
//! The order: a kill from outside; then, where a continuous-integration system says which step
//! failed, the last such step; then the highest band of strength; in that band the first
//! event of the log; in that event the tie-break order of the failure types. Hits that a later
//! success marker or a wrapper line takes back count only when nothing else is left.

use super::exit;
use super::hint::Hint;
use super::hits::Hit;
use super::rule::Action;
use super::rules::Rules;
use super::scan::Scan;
use meta_domain::failure::FailureType;
use meta_domain::signal::{ExitInfo, UnknownReason};

/// Strengths that differ by less than this belong to one band.
const BAND: u8 = 10;
/// Lines after the first hit of a band that belong to the same event.
const EVENT_LINES: u64 = 3;
/// The weakest evidence that makes a failure of a log without exit status.
const STRENGTH_MIN_BY_TEXT: u8 = 40;
/// Evidence below this only hints: two hints that disagree decide nothing.
const STRENGTH_HINT: u8 = 40;
/// What a summary that every test passed takes back of other than tests and checkers.
const STRENGTH_ALL_PASSED: u8 = 98;
/// The strength of what the command alone says about a failing exit.
const STRENGTH_INFERRED: u8 = 58;

/// What was decided, and by what.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) failure_type: FailureType,
    /// Rule id, or the name of the built-in reason.
    pub(crate) source: String,
    /// The deciding rule; `None` when no rule decided.
    pub(crate) rule: Option<usize>,
    /// The hits of the deciding type, the deciding one first.
    pub(crate) hits: Vec<Hit>,
    /// The hits of the type that came second.
    pub(crate) second: Vec<Hit>,
    pub(crate) strength: u8,
    /// The message when no line of the log can be one.
    pub(crate) message: String,
    pub(crate) runner_up: Option<(FailureType, u8)>,
    pub(crate) unknown_reason: Option<UnknownReason>,
}

impl Verdict {
    /// A verdict that no line of the log decided.
    pub(crate) fn by(failure_type: FailureType, source: &str, strength: u8, message: &str) -> Self {
        Self {
            failure_type,
            source: source.to_owned(),
            rule: None,
            hits: Vec::new(),
            second: Vec::new(),
            strength,
            message: message.to_owned(),
            runner_up: None,
            unknown_reason: None,
        }
    }

    /// Nothing decided.
    pub(crate) fn unknown(reason: UnknownReason) -> Self {
        let source = match reason {
            UnknownReason::NoLog => "no_log",
            UnknownReason::NoRule => "no_rule",
            UnknownReason::Conflicting => "conflicting",
        };
        let mut verdict = Self::by(FailureType::Unknown, source, 0, "");
        verdict.unknown_reason = Some(reason);
        verdict
    }
}

/// Chooses the verdict, or `None` when there is no evidence of a failure.
pub(crate) fn choose(
    rules: &Rules,
    scan: &Scan,
    exit: Option<&ExitInfo>,
    hint: Option<&Hint>,
) -> Option<Verdict> {
    let hits = scan.hits(rules);
    let mut counted = counted(rules, &hits);
    if counted.is_empty() && exit.is_some() {
        counted = hits.iter().filter(|hit| is_fail(rules, hit)).cloned().collect();
    }
    let by_rules = decide(rules, &in_deciding_section(rules, scan, counted));
    let by_exit = exit.and_then(|exit| exit::inside(exit, hint));
    let by_command = exit.and(hint).and_then(inferred);
    let floor = if exit.is_some() { 0 } else { STRENGTH_MIN_BY_TEXT };
    let mut verdicts: Vec<Verdict> = [by_rules, by_exit, by_command]
        .into_iter()
        .flatten()
        .filter(|v| v.strength >= floor)
        .collect();
    // The sort is stable: on equal strength what the log says goes first.
    verdicts.sort_by_key(|verdict| std::cmp::Reverse(verdict.strength));
    let mut best = verdicts.into_iter();
    let mut verdict = best.next()?;
    if verdict.rule.is_none() {
        let second = best.next().filter(|second| second.failure_type != verdict.failure_type);
        verdict.runner_up = second.map(|second| (second.failure_type, second.strength));
    }
    Some(verdict)
}

fn is_fail(rules: &Rules, hit: &Hit) -> bool {
    rules.all[hit.rule].spec.action == Action::Fail
}

/// The failure hits that no later success marker takes back.
fn counted(rules: &Rules, hits: &[Hit]) -> Vec<Hit> {
    let mut green = 0;
    let mut passed = 0;
    let mut counted = Vec::new();
    for hit in hits.iter().rev() {
        let rule = &rules.all[hit.rule];
        let strength = rule.spec.strength;
        match rule.spec.action {
            Action::Green => green = green.max(strength),
            Action::Passed => passed = passed.max(strength),
            Action::Fail => {
                let stays = is_finding(rule.failure_type) || rule.spec.despite_passed;
                let floor = if stays || passed == 0 { passed } else { STRENGTH_ALL_PASSED };
                if strength >= green.max(floor) {
                    counted.push(hit.clone());
                }
            }
            _ => {}
        }
    }
    counted.reverse();
    counted
}

/// Types that a test runner or a checker reports of the code itself.
fn is_finding(failure_type: FailureType) -> bool {
    matches!(failure_type, FailureType::TestAssert | FailureType::Lint | FailureType::Typecheck)
}

/// The hits of the last section that is said to have failed and shows why, and every kill from
/// outside below its start; without such a section, all hits but those of sections that clean up.
fn in_deciding_section(rules: &Rules, scan: &Scan, hits: Vec<Hit>) -> Vec<Hit> {
    let spec = |hit: &Hit| &rules.all[hit.rule].spec;
    let telling = |hit: &Hit| spec(hit).strength >= STRENGTH_HINT;
    let shows_why =
        |section: &usize| hits.iter().any(|hit| hit.section == *section && telling(hit));
    if let Some(section) = scan.sections.failed().find(shows_why) {
        let counts =
            |hit: &Hit| hit.section == section || (hit.section > section && spec(hit).outside);
        return hits.into_iter().filter(counts).collect();
    }
    let (teardown, work): (Vec<Hit>, Vec<Hit>) =
        hits.into_iter().partition(|hit| scan.sections.is_teardown(hit.section));
    if work.is_empty() { teardown } else { work }
}

fn decide(rules: &Rules, hits: &[Hit]) -> Option<Verdict> {
    let strength = |hit: &Hit| rules.all[hit.rule].spec.strength;
    let outside: Vec<&Hit> = hits.iter().filter(|hit| rules.all[hit.rule].spec.outside).collect();
    let candidates = if outside.is_empty() { hits.iter().collect() } else { outside };
    let band = candidates.iter().map(|hit| strength(hit) / BAND).max()?;
    let in_band: Vec<&Hit> =
        candidates.into_iter().filter(|hit| strength(hit) / BAND == band).collect();
    let own = in_band.iter().map(|hit| rules.all[hit.rule].priority).max()?;
    let first = in_band.iter().find(|hit| rules.all[hit.rule].priority == own)?;
    let event = in_band.iter().filter(|hit| {
        hit.line >= first.line
            && hit.line - first.line <= EVENT_LINES
            && rules.all[hit.rule].priority == own
    });
    let deciding = event.min_by_key(|hit| {
        (rank(rules.all[hit.rule].failure_type), std::cmp::Reverse(strength(hit)), hit.line)
    })?;
    Some(verdict(rules, hits, deciding))
}

fn verdict(rules: &Rules, hits: &[Hit], deciding: &Hit) -> Verdict {
    let rule = &rules.all[deciding.rule];
    let mut verdict = Verdict::by(rule.failure_type, &rule.spec.id, rule.spec.strength, "");
    verdict.rule = Some(deciding.rule);
    verdict.runner_up = hits
        .iter()
        .map(|hit| &rules.all[hit.rule])
        .filter(|other| other.failure_type != rule.failure_type)
        .map(|other| (other.failure_type, other.spec.strength))
        .max_by_key(|(failure_type, strength)| (*strength, std::cmp::Reverse(rank(*failure_type))));
    let band = rule.spec.strength / BAND;
    let equal = verdict.runner_up.is_some_and(|(_, strength)| strength / BAND == band);
    if rule.spec.strength < STRENGTH_HINT && equal {
        let mut unknown = Verdict::unknown(UnknownReason::Conflicting);
        unknown.hits = hits.to_vec();
        unknown.runner_up = Some((rule.failure_type, rule.spec.strength));
        return unknown;
    }
    verdict.hits.push(deciding.clone());
    let same = |hit: &&Hit| {
        rules.all[hit.rule].failure_type == rule.failure_type
            && (hit.line, hit.rule) != (deciding.line, deciding.rule)
    };
    verdict.hits.extend(hits.iter().filter(same).cloned());
    let second = verdict.runner_up.map(|(failure_type, _)| failure_type);
    let of_second = |hit: &&Hit| Some(rules.all[hit.rule].failure_type) == second;
    verdict.second = hits.iter().filter(of_second).cloned().collect();
    verdict
}

/// The place of a type in the tie-break order; lower goes first.
fn rank(failure_type: FailureType) -> usize {
    FailureType::ALL.iter().position(|other| *other == failure_type).unwrap_or(usize::MAX)
}

/// A known checker failed and no rule knows its output: what the tool is for says what failed.
fn inferred(hint: &Hint) -> Option<Verdict> {
    let failure_type = hint.role?;
    let message = format!("{} failed", hint.tool);
    Some(Verdict::by(failure_type, "command.role", STRENGTH_INFERRED, &message))
}
