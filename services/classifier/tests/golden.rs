//! The project's own logs: each gives the signal that is kept beside it.

use classifier::core::{ClassifyInput, Rules, classify};
use classifier::labelled::{self, LabelledLog};
use meta_domain::failure::FailureType;
use meta_domain::signal::Signal;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Our own logs that are not what their label says, at most.
const WRONG_MAX: usize = 8;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::embedded().expect("the rules load"));
static LOGS: LazyLock<Vec<LabelledLog>> =
    LazyLock::new(|| labelled::read(&dir()).expect("the logs are there"));

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn signal(log: &LabelledLog) -> Option<Signal> {
    classify(&RULES, &ClassifyInput { log: &log.log, ..ClassifyInput::default() })
}

#[test]
fn every_log_gives_the_signal_that_is_kept_beside_it() {
    let mut changed = Vec::new();
    for log in LOGS.iter() {
        let text = serde_json::to_string_pretty(&signal(log)).expect("json") + "\n";
        let kept = dir().join("signals").join(format!("{}.json", log.id));
        if std::fs::read_to_string(kept).ok() != Some(text) {
            changed.push(log.id.as_str());
        }
    }
    assert!(changed.is_empty(), "changed (keep them with `make golden`): {changed:?}");
}

#[test]
fn the_logs_are_many_and_of_every_type() {
    assert!(LOGS.len() >= 150, "{}", LOGS.len());
    assert!(LOGS.iter().filter(|log| log.benign).count() >= 25);
    for failure_type in FailureType::ALL {
        assert!(LOGS.iter().any(|log| log.expected == failure_type), "{failure_type}");
    }
}

#[test]
fn no_log_of_a_success_alarms() {
    let benign = LOGS.iter().filter(|log| log.benign);
    let alarms: Vec<(&str, String)> =
        benign.filter_map(|log| Some((log.id.as_str(), signal(log)?.source))).collect();
    assert!(alarms.is_empty(), "{alarms:?}");
}

#[test]
fn nearly_every_log_is_what_its_label_says() {
    let verdict = |log: &&LabelledLog| signal(log).map(|signal| signal.failure_type);
    let wrong: Vec<&str> =
        LOGS.iter().filter(|log| !log.is_right(verdict(log))).map(|log| log.id.as_str()).collect();
    assert!(wrong.len() <= WRONG_MAX, "{wrong:?}");
}

#[test]
fn a_log_says_the_same_in_one_piece_and_in_chunks() {
    let rules = std::sync::Arc::new(Rules::embedded().expect("the rules load"));
    for log in LOGS.iter().step_by(5) {
        let mut stream = classifier::core::LogStream::new(std::sync::Arc::clone(&rules));
        for chunk in log.log.chunks(113) {
            stream.feed(chunk);
        }
        assert_eq!(stream.finish(&ClassifyInput::default()), signal(log), "{}", log.id);
    }
}

#[test]
fn no_log_names_the_machine_it_came_from() {
    for log in LOGS.iter() {
        let text = String::from_utf8_lossy(&log.log);
        for word in ["/root/", "/Users/", "C:\\Users"] {
            assert!(!text.contains(word), "{} has {word}", log.id);
        }
    }
}
