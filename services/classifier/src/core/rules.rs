//! The compiled set of rules and the prefilter over all their literals.

use super::learned::Learned;
use super::needles::Needles;
use super::rule::{Action, Rule, RuleSpec};
use super::scan::Scan;
use meta_domain::failure::FailureType;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

/// Priority of the rules that ship with the product.
const PRIORITY_BUILT_IN: u8 = 0;
/// Priority of a user's own rules.
pub(crate) const PRIORITY_USER: u8 = 1;

/// Hits weaker than this do not count on a line that only shows a commit.
const STRENGTH_COMMIT_LINE: u8 = 96;
/// Rules whose examples are checked before the memory that took is given back.
const CHECKED_AT_ONCE: usize = 32;
/// The rule files that ship with the product.
const EMBEDDED: &[(&str, &str)] = &[
    ("rate_limit.toml", include_str!("../../rules/rate_limit.toml")),
    ("infra.toml", include_str!("../../rules/infra.toml")),
    ("schema_migration.toml", include_str!("../../rules/schema_migration.toml")),
    ("security.toml", include_str!("../../rules/security.toml")),
    ("policy.toml", include_str!("../../rules/policy.toml")),
    ("transient.toml", include_str!("../../rules/transient.toml")),
    ("test_assert.toml", include_str!("../../rules/test_assert.toml")),
    ("typecheck.toml", include_str!("../../rules/typecheck.toml")),
    ("lint.toml", include_str!("../../rules/lint.toml")),
    ("runtime.toml", include_str!("../../rules/runtime.toml")),
    ("unknown.toml", include_str!("../../rules/unknown.toml")),
    ("markers.toml", include_str!("../../rules/markers.toml")),
];

/// Why a set of rules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule file could not be read.
    #[error("rule file {file} cannot be read")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A rule file is not what a rule file should be.
    #[error("rule file {file} does not parse: {problem}")]
    Parse {
        /// The file.
        file: String,
        /// What is wrong, with its place.
        problem: String,
    },
    /// One rule is wrong.
    #[error("rule {id} in {file} {problem}")]
    Rule {
        /// The rule.
        id: String,
        /// The file it stands in.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    /// What lies behind the error, in brackets, to be put after it; empty when nothing does.
    pub fn source_text(&self) -> String {
        match self {
            Self::Read { source, .. } => format!(" ({source})"),
            Self::Parse { .. } | Self::Rule { .. } => String::new(),
        }
    }
}

/// Whether the line is the short form of a commit: what it says was true of an older state.
fn is_commit_line(piece: &[u8]) -> bool {
    let hash = piece.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let has = |test: fn(&u8) -> bool| piece[..hash].iter().any(test);
    (7..=12).contains(&hash)
        && piece.get(hash) == Some(&b' ')
        && piece.get(hash + 1).is_some_and(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_lowercase)
}

/// One rule file: its name for messages, its text, and whether a user wrote it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name for messages.
    pub name: String,
    /// TOML text.
    pub text: String,
    /// A user's rules outrank the product's own in the same band and may replace one by its id.
    pub user: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(rename = "type")]
    failure_type: Option<FailureType>,
    #[serde(default)]
    rule: Vec<RuleSpec>,
}

/// What a literal of the prefilter is for.
#[derive(Debug, Default)]
pub(crate) struct Literal {
    /// Rules whose line expression is tried when it is seen.
    pub(crate) tries: Vec<usize>,
    /// Whether rules ask for it as a companion.
    pub(crate) companion: bool,
}

/// What became of a rule on a piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// It matches.
    Fired,
    /// It may match; it was not tried yet.
    Deferred,
}

/// A compiled, checked set of rules. Cheap to share, never changes.
#[derive(Debug)]
pub struct Rules {
    pub(crate) all: Vec<Rule>,
    pub(crate) needles: Needles,
    /// What each text of `needles` is for.
    pub(crate) literals: Vec<Literal>,
    /// How far each rule can be trusted.
    pub(crate) learned: Learned,
}

impl Rules {
    /// The rules that ship with the product.
    pub fn embedded() -> Result<Self, Error> {
        Self::from_sources(&Self::embedded_sources())
    }

    /// The texts behind [`Rules::embedded`].
    pub fn embedded_sources() -> Vec<Source> {
        let source = |(name, text): &(&str, &str)| Source {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            user: false,
        };
        EMBEDDED.iter().map(source).collect()
    }

    /// Compiles rule files and runs every rule's own examples.
    pub fn from_sources(sources: &[Source]) -> Result<Self, Error> {
        let mut rules = Self::compile(sources)?;
        for rule in 0..rules.all.len() {
            if rule % CHECKED_AT_ONCE == 0 {
                rules.forget_scratch();
            }
            rules.check_examples(rule).map_err(|problem| Error::Rule {
                id: rules.all[rule].spec.id.clone(),
                file: rules.all[rule].file.clone(),
                problem,
            })?;
        }
        rules.forget_scratch();
        Ok(rules)
    }

    /// Gives back the memory that expressions took to match, which they keep for the next time: all
    /// rules are checked, and few are needed again. A clone shares the program and nothing else.
    fn forget_scratch(&mut self) {
        for rule in &mut self.all {
            rule.line = rule.line.clone();
            rule.unless = rule.unless.clone();
        }
    }

    /// Compiles rule files without running their examples.
    pub(crate) fn compile(sources: &[Source]) -> Result<Self, Error> {
        let mut rules: Vec<Rule> = Vec::new();
        for source in sources {
            let file: RuleFile = toml::from_str(&source.text).map_err(|error| Error::Parse {
                file: source.name.clone(),
                problem: error.to_string(),
            })?;
            let mut ids = HashSet::new();
            for spec in file.rule {
                let id = spec.id.clone();
                let fault = |problem: String| Error::Rule {
                    id: id.clone(),
                    file: source.name.clone(),
                    problem,
                };
                let known = rules.iter().position(|rule| rule.spec.id == id);
                if !ids.insert(id.clone()) || (known.is_some() && !source.user) {
                    return Err(fault("stands twice".to_owned()));
                }
                let priority = if source.user { PRIORITY_USER } else { PRIORITY_BUILT_IN };
                let rule = Rule::compile(spec, &source.name, file.failure_type, priority)
                    .map_err(fault)?;
                match known {
                    Some(at) => rules[at] = rule,
                    None => rules.push(rule),
                }
            }
        }
        let learned = Learned::shipped().map_err(|error| Error::Parse {
            file: "learned.toml".to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self::with_prefilter(rules, learned))
    }

    fn with_prefilter(mut rules: Vec<Rule>, learned: Learned) -> Self {
        let mut ids: BTreeMap<(String, bool), usize> = BTreeMap::new();
        let mut literals: Vec<Literal> = Vec::new();
        let mut id_of = |text: &String, exact: bool| {
            let next = ids.len();
            let key = if exact { text.clone() } else { text.to_ascii_lowercase() };
            *ids.entry((key, exact)).or_insert(next)
        };
        for (index, rule) in rules.iter_mut().enumerate() {
            let of_line = |text: &String| id_of(text, rule.spec.is_exact(text));
            let tries: Vec<usize> = rule.spec.literals.iter().map(of_line).collect();
            rule.all_of = rule.spec.all_of.iter().map(|text| id_of(text, false)).collect();
            rule.none_of = rule.spec.none_of.iter().map(|text| id_of(text, false)).collect();
            let highest = tries.iter().chain(&rule.all_of).chain(&rule.none_of).max();
            let needed = highest.map_or(0, |id| id + 1).max(literals.len());
            literals.resize_with(needed, Literal::default);
            for id in tries {
                literals[id].tries.push(index);
            }
            for id in rule.all_of.iter().chain(&rule.none_of) {
                literals[*id].companion = true;
            }
        }
        let mut texts: Vec<(&(String, bool), &usize)> = ids.iter().collect();
        texts.sort_by_key(|(_, id)| **id);
        let needles = texts.into_iter().map(|((text, exact), _)| (text.as_str(), *exact));
        let needles = Needles::new(needles);
        Self { all: rules, needles, literals, learned }
    }

    /// Puts the rules on the list that have one of their literals in this piece of a long line.
    pub(crate) fn tried_on(&self, piece: &[u8], tried: &mut Vec<usize>) {
        tried.clear();
        self.needles.find(piece, |_, literal| tried.extend(&self.literals[literal].tries));
        tried.sort_unstable();
        tried.dedup();
    }

    /// Hands over the rules of those to try that match a piece of a line, or may, and that no
    /// wrapper line takes back. Rules that may wait are handed over untried.
    pub(crate) fn matching(&self, piece: &[u8], tried: &[usize], found: &mut Vec<(usize, Match)>) {
        found.clear();
        let (mut wrappers, mut weakest) = (false, u8::MAX);
        for rule in tried {
            let rule_is = &self.all[*rule];
            let (action, strength) = (rule_is.spec.action, rule_is.spec.strength);
            if !rule_is.may_start(piece) || !(action.may_wait() || rule_is.matches_line(piece)) {
                continue;
            }
            found.push((*rule, if action.may_wait() { Match::Deferred } else { Match::Fired }));
            match action {
                Action::Noise => wrappers = true,
                _ => weakest = weakest.min(strength),
            }
        }
        let by_wrappers = if wrappers { self.wrapped_below(piece, found, weakest) } else { 0 };
        let is_commit = weakest < STRENGTH_COMMIT_LINE && is_commit_line(piece);
        let floor = if is_commit { by_wrappers.max(STRENGTH_COMMIT_LINE) } else { by_wrappers };
        if weakest < floor {
            let spec = |rule: usize| &self.all[rule].spec;
            found.retain(|(rule, _)| {
                spec(*rule).action == Action::Noise || spec(*rule).strength >= floor
            });
        }
    }

    /// The strength below which hits on a piece do not count, for the wrapper lines among `found`
    /// that match it; only those that can take back a hit as weak as `weakest` are tried.
    fn wrapped_below(&self, piece: &[u8], found: &[(usize, Match)], weakest: u8) -> u8 {
        let rules = found.iter().map(|(rule, _)| &self.all[*rule]);
        let wrappers = rules
            .filter(|rule| rule.spec.action == Action::Noise && rule.spec.strength > weakest)
            .filter(|rule| rule.matches_line(piece));
        wrappers.map(|rule| rule.spec.strength).max().unwrap_or(0)
    }

    /// Runs one rule's examples through the same scan that logs go through.
    pub(crate) fn check_examples(&self, rule: usize) -> Result<(), String> {
        let spec = &self.all[rule].spec;
        for example in &spec.matches {
            if !self.fires(rule, example) {
                return Err(format!("does not fire on its match example {example:?}"));
            }
        }
        for example in &spec.no_match {
            if self.fires(rule, example) {
                return Err(format!("fires on its no_match example {example:?}"));
            }
        }
        Ok(())
    }

    fn fires(&self, rule: usize, example: &str) -> bool {
        Scan::run(self, example.as_bytes()).fired(self, rule)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
