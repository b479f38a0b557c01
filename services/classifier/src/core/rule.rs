//! One rule: its TOML form and its compiled form.

use super::needles::NEEDLE_BYTES_MIN;
use meta_domain::failure::{FailureType, Severity};
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;
use serde::Deserialize;

/// Lines around a match within which `all_of` and `none_of` look, when the rule names none.
const WITHIN_LINES_DEFAULT: u32 = 12;
/// A literal shorter than this would let too many lines through the prefilter.
const LITERAL_BYTES_MIN: usize = NEEDLE_BYTES_MIN;
/// Bytes of one compiled regular expression.
const REGEX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a rule's match means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Evidence of a failure of the rule's type.
    #[default]
    Fail,
    /// Evidence that what stands above it went well: weaker hits before it do not count.
    Green,
    /// Evidence that every test passed: what stands above it was printed by passing tests and does
    /// not count, however strong, but for stronger findings of tests and checkers.
    Passed,
    /// A wrapper or teardown line: weaker hits on the same line do not count.
    Noise,
    /// A place in the code for the hits around it; no evidence by itself.
    Locate,
    /// The header of a section: a continuous-integration system starts the next step.
    Section,
    /// The system says that the step of this section failed; no evidence of why.
    Failed,
}

impl Action {
    /// Whether a line can be matched later: nothing that is read meanwhile depends on it.
    pub(crate) fn may_wait(self) -> bool {
        !matches!(self, Self::Section | Self::Failed)
    }

    /// Whether the newest match decides, however many lines that only look like one come after it.
    pub(crate) fn newest_decides(self) -> bool {
        matches!(self, Self::Green | Self::Passed)
    }
}

/// Where a rule's match counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// On every line; companions must stand within `within` lines.
    #[default]
    Line,
    /// Only near the end of the log.
    Tail,
    /// On every line; companions may stand anywhere in the log.
    Any,
}

/// A rule as it is written in a rule file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique name, `tool.what`.
    pub id: String,
    /// The failure type; the file's own `type` when absent.
    #[serde(rename = "type")]
    pub failure_type: Option<FailureType>,
    /// The tool that prints this; empty when many do.
    #[serde(default)]
    pub tool: String,
    /// The line is looked at only when it contains one of these (case ignored).
    pub literals: Vec<String>,
    /// Regular expression over one line (case matters; ASCII classes). Captures named `file`,
    /// `line`, `column`, `code`, `test`, `message` and `retry_after` are used.
    pub line: String,
    /// Texts that must all stand near the match (case ignored).
    #[serde(default)]
    pub all_of: Vec<String>,
    /// Texts none of which may stand near the match (case ignored).
    #[serde(default)]
    pub none_of: Vec<String>,
    /// How many lines before or after the match is "near".
    #[serde(default = "within_default")]
    pub within: u32,
    /// Regular expression that must not match the same line.
    pub unless: Option<String>,
    /// Where the match counts.
    #[serde(default)]
    pub scope: Scope,
    /// How decisive the match is, 1 to 99; the tens digit is its band.
    pub strength: u8,
    /// What the match means.
    #[serde(default)]
    pub action: Action,
    /// The step was ended from outside: outranks every ordinary failure.
    #[serde(default)]
    pub outside: bool,
    /// It is what a run of passing tests itself reports (a coverage threshold, say): a summary that
    /// every test passed does not take it back.
    #[serde(default)]
    pub despite_passed: bool,
    /// Severity when it differs from the type's usual one.
    pub severity: Option<Severity>,
    /// Texts (one or more lines) on which the rule must fire.
    #[serde(rename = "match")]
    pub matches: Vec<String>,
    /// Texts on which it must not fire.
    pub no_match: Vec<String>,
}

impl RuleSpec {
    /// Whether a literal need only be looked for as it is written: the line expression minds the
    /// case and has the literal in it, everywhere in the same case.
    pub(crate) fn is_exact(&self, literal: &str) -> bool {
        let plain = self.line.replace('\\', "");
        let anywhere = plain.to_ascii_lowercase().matches(&literal.to_ascii_lowercase()).count();
        let as_written = plain.matches(literal).count();
        !plain.contains("(?i") && as_written > 0 && as_written == anywhere
    }
}

fn within_default() -> u32 {
    WITHIN_LINES_DEFAULT
}

/// A rule ready to run.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) failure_type: FailureType,
    /// The file it stands in, for messages.
    pub(crate) file: String,
    /// Higher-priority rules (a user's own) outrank others of the same band.
    pub(crate) priority: u8,
    pub(crate) line: Regex,
    pub(crate) unless: Option<Regex>,
    /// The bytes with which a line may start that the expression matches; `None` when a match may
    /// stand anywhere in the line.
    first: Option<Box<[bool; 256]>>,
    /// The numbers of the texts that must stand near.
    pub(crate) all_of: Vec<usize>,
    /// The numbers of the texts that must not stand near.
    pub(crate) none_of: Vec<usize>,
}

impl Rule {
    /// Compiles a rule, or says what is wrong with it.
    pub(crate) fn compile(
        spec: RuleSpec,
        file: &str,
        file_type: Option<FailureType>,
        priority: u8,
    ) -> Result<Self, String> {
        let failure_type = match (spec.failure_type.or(file_type), spec.action) {
            (Some(failure_type), _) => failure_type,
            (None, Action::Fail) => return Err("has no type, nor has its file".to_owned()),
            (None, _) => FailureType::Unknown,
        };
        if spec.literals.is_empty() {
            return Err("needs at least one literal".to_owned());
        }
        for text in spec.literals.iter().chain(&spec.all_of).chain(&spec.none_of) {
            if text.len() < LITERAL_BYTES_MIN {
                return Err(format!("literal {text:?} is shorter than {LITERAL_BYTES_MIN} bytes"));
            }
        }
        if !(1..=99).contains(&spec.strength) {
            return Err(format!("strength is {}, expected 1 to 99", spec.strength));
        }
        if spec.matches.is_empty() || spec.no_match.is_empty() {
            return Err("needs at least one match and one no_match example".to_owned());
        }
        let line = regex("line", &spec.line)?;
        let first = first_bytes(&spec.line);
        let unless = spec.unless.as_deref().map(|text| regex("unless", text)).transpose()?;
        let file = file.to_owned();
        let (all_of, none_of) = (Vec::new(), Vec::new());
        Ok(Self { spec, failure_type, file, priority, line, unless, first, all_of, none_of })
    }

    /// Whether a line that starts like this one can match at all.
    pub(crate) fn may_start(&self, line: &[u8]) -> bool {
        let is_start = |first: &[bool; 256]| line.first().is_some_and(|at| first[usize::from(*at)]);
        self.first.as_deref().is_none_or(is_start)
    }

    /// Whether the rule's own line conditions hold for one clean line.
    pub(crate) fn matches_line(&self, line: &[u8]) -> bool {
        self.may_start(line)
            && self.line.is_match(line)
            && !self.unless.as_ref().is_some_and(|not| not.is_match(line))
    }
}

/// The bytes with which every match starts, for an expression that is bound to the line's start.
fn first_bytes(pattern: &str) -> Option<Box<[bool; 256]>> {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).build();
    let tree = parser.parse(pattern).ok()?;
    if !tree.properties().look_set_prefix().contains(Look::Start) {
        return None;
    }
    let mut starts = Extractor::new();
    starts.limit_class(256).limit_literal_len(1).limit_total(512);
    let starts = starts.extract(&tree);
    let literals = starts.literals()?;
    let mut first = Box::new([false; 256]);
    for literal in literals {
        first[usize::from(*literal.as_bytes().first()?)] = true;
    }
    Some(first)
}

fn regex(field: &str, text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("{field} is not a regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::first_bytes;

    fn may_start(pattern: &str, line: &str) -> Option<bool> {
        first_bytes(pattern).map(|first| first[usize::from(line.as_bytes()[0])])
    }

    #[test]
    fn a_bound_expression_knows_how_its_lines_start() {
        assert_eq!(may_start("^(FAILED|ERROR) x", "FAILED x"), Some(true));
        assert_eq!(may_start("^(FAILED|ERROR) x", "x FAILED"), Some(false));
        assert_eq!(may_start("(?i)^fatal: ", "Fatal: x"), Some(true));
        assert_eq!(may_start(r"^\s*at ", "  at x"), Some(true));
        assert_eq!(may_start(r"(^a|^b)", "c"), Some(false));
    }

    #[test]
    fn an_expression_that_may_match_anywhere_knows_nothing() {
        assert_eq!(first_bytes("FAILED"), None);
        assert_eq!(first_bytes("(^a|b)"), None);
        assert_eq!(first_bytes("^"), None);
    }
}
