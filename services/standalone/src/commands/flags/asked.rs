//! What a command line asks for, checked before anything is sent.

use crate::args::{GetArgs, ResetArgs, SetArgs, WriteArgs};
use crate::error::{Error, Result};
use meta_domain::settings::{
    BACKOFF_CAP_SECONDS, Layer, Overrides, PER_STEP_ATTEMPTS, Rollout, Rollouts, Setting,
    TOTAL_ATTEMPTS, Value,
};
use meta_domain::time::Timestamp;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
/// Characters of a wrong word that are repeated.
const SHOWN_CHARS_MAX: usize = 60;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These values on top of what the layer holds.
    Set(Overrides),
    /// The same for a share of the tenants.
    Roll(Rollouts),
    /// These settings are taken out; all where none is named.
    Clear(Vec<Setting>),
}

/// A change and how it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What is changed.
    pub change: Change,
    /// The layer of the whole platform; `None` means an owner's override.
    pub platform: Option<Layer>,
    /// See [`WriteArgs`].
    pub if_version: Option<u64>,
    /// See [`WriteArgs`].
    pub dry_run: bool,
    /// When it takes effect.
    pub at: Option<Timestamp>,
    /// Why; may be empty for an owner's override.
    pub reason: String,
}

impl Write {
    fn new(change: Change, platform: Option<Layer>, how: &WriteArgs) -> Result<Self> {
        Ok(Self {
            change,
            platform,
            if_version: how.if_version,
            dry_run: how.dry_run,
            at: how.at.map(|at| Timestamp(at.as_millisecond())),
            reason: reason(platform, how)?,
        })
    }

    /// What `flags set` asks for.
    pub fn set(args: &SetArgs) -> Result<Self> {
        let platform = layer(&args.layer, args.rollout.is_some());
        let values = values(&args.pairs)?;
        let change = match args.rollout {
            Some(percent) => Change::Roll(rollouts(&values, percent, args.bucket_key.as_deref())?),
            None => Change::Set(values.into_iter().collect()),
        };
        Self::new(change, platform, &args.write)
    }

    /// What `flags reset` asks for.
    pub fn reset(args: &ResetArgs) -> Result<Self> {
        let platform = layer(&args.layer, args.rollout);
        Self::new(Change::Clear(args.settings.clone()), platform, &args.write)
    }
}

/// The layer of the whole platform that `flags get` asks for.
pub fn shown(args: &GetArgs) -> Option<Layer> {
    layer(&args.layer, args.rollout)
}

fn layer(args: &crate::args::LayerArgs, rollout: bool) -> Option<Layer> {
    match (args.platform, args.kill_switch, rollout) {
        (true, ..) => Some(Layer::Platform),
        (_, true, _) => Some(Layer::KillSwitch),
        (_, _, true) => Some(Layer::Rollout),
        (false, false, false) => None,
    }
}

/// Whoever changes something for everybody says why; who only looks need not.
fn reason(platform: Option<Layer>, how: &WriteArgs) -> Result<String> {
    let bad = |why: String| Error::usage("--reason is not valid", why);
    let given = how.reason.as_deref().unwrap_or_default().trim();
    let chars = given.chars().count();
    if chars > REASON_CHARS_MAX {
        return Err(bad(format!("{chars} characters (expected at most {REASON_CHARS_MAX})")));
    }
    if given.chars().any(char::is_control) {
        return Err(bad("it has more than one line (expected one)".to_owned()));
    }
    match platform {
        Some(layer) if given.is_empty() && !how.dry_run => Err(Error::usage(
            "--reason is missing",
            format!("the layer {layer} is everybody's, so a change to it says why"),
        )
        .next("add --reason TEXT, or --dry-run to see who would be affected")),
        Some(_) | None => Ok(given.to_owned()),
    }
}

/// Reads `name=value` pairs; every one that is wrong is named.
fn values(pairs: &[String]) -> Result<Vec<(Setting, Value)>> {
    let mut read: Vec<(Setting, Value)> = Vec::new();
    let mut faults = Vec::new();
    for pair in pairs {
        match value(pair) {
            Ok((setting, _)) if read.iter().any(|(s, _)| *s == setting) => {
                faults.push(format!("{setting} is given twice (expected once)"));
            }
            Ok(value) => read.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(not_valid(faults)) }
}

fn not_valid(faults: Vec<String>) -> Error {
    Error::several("the settings are not valid", faults)
}

fn value(pair: &str) -> std::result::Result<(Setting, Value), String> {
    let (name, text) = pair
        .split_once('=')
        .ok_or_else(|| format!("{} has no '=' (expected NAME=VALUE)", quoted(pair)))?;
    let setting = Setting::ALL.iter().copied().find(|s| s.as_str() == name).ok_or_else(|| {
        let all: Vec<_> = Setting::ALL.iter().map(|s| s.as_str()).collect();
        format!("{} is not a setting (expected one of {})", quoted(name), all.join(", "))
    })?;
    let read = match setting {
        Setting::AutofixEnabled => text.parse().map(Value::Bool).ok(),
        _ => text.parse().map(Value::Int).ok(),
    };
    let value =
        read.ok_or_else(|| format!("{setting}: {} is not {}", quoted(text), expected(setting)))?;
    setting.check(value).map_err(|fault| fault.to_string())?;
    Ok((setting, value))
}

fn expected(setting: Setting) -> String {
    let range = match setting {
        Setting::AutofixEnabled => return "true or false".to_owned(),
        Setting::MaxTotalAttempts => TOTAL_ATTEMPTS,
        Setting::MaxPerStepAttempts => PER_STEP_ATTEMPTS,
        Setting::BackoffCapSeconds => BACKOFF_CAP_SECONDS,
    };
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// A word of the user's, cut where it is long.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn rollouts(values: &[(Setting, Value)], percent: u8, key: Option<&str>) -> Result<Rollouts> {
    let mut faults = Vec::new();
    let mut all = Rollouts::new();
    for (setting, value) in values {
        let bucket_key = key.unwrap_or(setting.as_str()).to_owned();
        let rollout = Rollout { value: *value, percent, bucket_key };
        faults.extend(rollout.check(*setting).err().into_iter().flatten().map(|f| f.to_string()));
        all.insert(*setting, rollout);
    }
    faults.dedup();
    if faults.is_empty() { Ok(all) } else { Err(not_valid(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command, FlagsCommand};
    use crate::error::Exit;
    use clap::Parser;

    fn asked(line: &str) -> Result<Write> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        match cli.command {
            Command::Flags(FlagsCommand::Set(args)) => Write::set(&args),
            Command::Flags(FlagsCommand::Reset(args)) => Write::reset(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pairs_become_overrides() {
        let write = asked("mb flags set autofix_enabled=false max_total_attempts=8").unwrap();
        let Change::Set(read) = write.change else { panic!("{write:?}") };
        assert_eq!((read.autofix_enabled, read.max_total_attempts), (Some(false), Some(8)));
        assert_eq!((read.backoff_cap_seconds, write.platform), (None, None));
    }

    #[test]
    fn a_share_becomes_rollouts_with_a_key_of_their_own_or_the_named_one() {
        let line = "mb flags set max_total_attempts=4 autofix_enabled=true --rollout 25 --reason r";
        for (end, key) in [("", "max_total_attempts"), (" --bucket-key canary", "canary")] {
            let write = asked(&format!("{line}{end}")).unwrap();
            let Change::Roll(all) = &write.change else { panic!("{write:?}") };
            let one = &all[&Setting::MaxTotalAttempts];
            assert_eq!((one.percent, one.bucket_key.as_str(), all.len()), (25, key, 2));
            assert_eq!(write.platform, Some(Layer::Rollout));
        }
        let error = asked(&format!("{line} --bucket-key a/b")).unwrap_err().to_string();
        assert_eq!(error.matches("bucket_key").count(), 1, "{error}");
    }

    #[test]
    fn every_bad_pair_is_named_once_with_what_was_expected() {
        for (pair, part) in [
            ("a", "\"a\" has no '='"),
            ("colour=red", "\"colour\" is not a setting"),
            ("max_total_attempts=six", "\"six\" is not a whole number from 1 to 20"),
            ("max_total_attempts=2.5", "\"2.5\" is not a whole number"),
            ("max_total_attempts=", "\"\" is not a whole number"),
            ("max_total_attempts=-1", "\"-1\" is not a whole number"),
            ("max_total_attempts=99999999999999999999", "is not a whole number from 1 to 20"),
            ("max_total_attempts=0", "0 is out of range (expected 1 to 20)"),
            ("max_total_attempts=21", "21 is out of range (expected 1 to 20)"),
            ("backoff_cap_seconds=9", "9 is out of range"),
            ("autofix_enabled=1", "\"1\" is not true or false"),
        ] {
            let error = asked(&format!("mb flags set {pair}")).unwrap_err();
            assert!(error.to_string().contains(part), "{part:?} is not in {error}");
            assert_eq!((error.exit, error.why.len()), (Exit::Usage, 1));
        }
        let twice = asked("mb flags set max_total_attempts=1 max_total_attempts=2 x").unwrap_err();
        assert_eq!(twice.why.len(), 2, "{twice}");
        let long = asked(&format!("mb flags set {}=1", "k".repeat(200_000))).unwrap_err();
        assert!(long.to_string().len() < 300, "{}", long.to_string().len());
    }

    #[test]
    fn the_whole_platform_is_changed_with_a_reason_only() {
        for line in [
            "mb flags set max_total_attempts=4 --platform",
            "mb flags set autofix_enabled=false --kill-switch",
            "mb flags set max_total_attempts=4 --rollout 5",
            "mb flags reset --kill-switch",
        ] {
            let error = asked(line).unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{line}");
            assert!(error.to_string().contains("--reason is missing"), "{error}");
            assert!(asked(&format!("{line} --reason why")).is_ok(), "{line}");
            assert!(asked(&format!("{line} --dry-run")).is_ok(), "{line}");
        }
        let long = asked(&format!("mb flags reset --reason {}", "r".repeat(501))).unwrap_err();
        assert!(long.to_string().contains("501 characters"), "{long}");
    }

    #[test]
    fn reset_takes_the_named_settings_out() {
        let write = asked("mb flags reset max_total_attempts --if-version 3").unwrap();
        assert_eq!(write.change, Change::Clear(vec![Setting::MaxTotalAttempts]));
        assert_eq!((write.if_version, write.dry_run), (Some(3), false));
    }
}
