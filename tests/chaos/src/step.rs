//! The program that every step of the workload executes: a real process that says in the effects
//! file when it began and when it ended, and fails as the plan wants it.

use crate::effects::{Effect, Mark};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// Word that makes this binary the step program.
pub const WORD: &str = "step";
/// Exit code of a step that fails as it should.
pub const FAILED: u8 = 7;

/// How a step behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It passes.
    Pass,
    /// Its network fails in the first so many executions.
    Flaky(u32),
    /// It fails for reasons that nobody knows in the first so many executions.
    Odd(u32),
    /// A test of it fails, always.
    Broken,
}

impl Behaviour {
    /// The word for the command line.
    pub fn word(self) -> String {
        match self {
            Self::Pass => "pass".to_owned(),
            Self::Flaky(times) => format!("flaky:{times}"),
            Self::Odd(times) => format!("odd:{times}"),
            Self::Broken => "broken".to_owned(),
        }
    }

    /// What it says before it fails; `None` when this execution passes.
    fn complaint(self, attempt: u32) -> Option<&'static str> {
        match self {
            Self::Flaky(times) if attempt <= times => {
                Some("curl: (7) Failed to connect to registry.example port 443: Connection refused")
            }
            Self::Odd(times) if attempt <= times => Some("the wheels came off"),
            Self::Broken => {
                Some("FAILED tests/test_sum.py::test_sum - AssertionError: assert 1 == 2")
            }
            Self::Pass | Self::Flaky(_) | Self::Odd(_) => None,
        }
    }
}

impl FromStr for Behaviour {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let (name, times) = word.split_once(':').unwrap_or((word, "0"));
        let times = times.parse().with_context(|| format!("{word:?} has no number"))?;
        Ok(match name {
            "pass" => Self::Pass,
            "flaky" => Self::Flaky(times),
            "odd" => Self::Odd(times),
            "broken" => Self::Broken,
            _ => bail!("{word:?} is no behaviour (expected pass, flaky:N, odd:N or broken)"),
        })
    }
}

/// Runs the step: `step EFFECTS_FILE MILLISECONDS BEHAVIOUR`, with its identity from the runner.
pub fn main(args: &[String], vars: &BTreeMap<String, String>) -> ExitCode {
    match execute(args, vars) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("the step program cannot do its work: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(args: &[String], vars: &BTreeMap<String, String>) -> Result<u8> {
    let [file, ms, behaviour] = args else { bail!("expected EFFECTS_FILE MILLISECONDS BEHAVIOUR") };
    let var = |name: &str| vars.get(name).with_context(|| format!("{name} is not set"));
    let behaviour: Behaviour = behaviour.parse()?;
    let mut effect = Effect {
        run: var("METABUILDER_RUN_ID")?.clone(),
        step: var("METABUILDER_STEP")?.clone(),
        attempt: var("METABUILDER_ATTEMPT")?.parse()?,
        epoch: var("METABUILDER_LEASE_EPOCH")?.parse()?,
        pid: std::process::id(),
        boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
        at_ms: meta_runtime::now().0,
        mark: Mark::Start,
    };
    effect.append(Path::new(file))?;
    println!("execution {} of {}", effect.attempt, effect.step);
    std::thread::sleep(Duration::from_millis(ms.parse()?));
    let complaint = behaviour.complaint(effect.attempt);
    let code = if let Some(text) = complaint {
        println!("{text}");
        FAILED
    } else {
        0
    };
    effect.at_ms = meta_runtime::now().0;
    effect.mark = Mark::End { code };
    effect.append(Path::new(file))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_behaviour_is_its_word() {
        for one in [Behaviour::Pass, Behaviour::Flaky(2), Behaviour::Odd(1), Behaviour::Broken] {
            assert_eq!(one.word().parse::<Behaviour>().unwrap(), one);
        }
        assert!("often".parse::<Behaviour>().is_err());
    }

    #[test]
    fn a_flaky_step_passes_in_the_end() {
        let fails = |attempt| Behaviour::Flaky(2).complaint(attempt).is_some();
        assert_eq!([1, 2, 3].map(fails), [true, true, false]);
    }
}
