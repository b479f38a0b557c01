//! What must hold for every log, not only for those we thought of.

use classifier::core::{
    ClassifyInput, LogStream, Rules, check, classify, fingerprint, mask_secrets,
};
use meta_domain::failure::FailureType;
use meta_domain::signal::{ExitInfo, Signal};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static RULES: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Arc::new(Rules::embedded().expect("the rules load")));
/// The examples of all rules: lines that real tools print.
static LINES: LazyLock<Vec<String>> =
    LazyLock::new(|| check::texts(&RULES).into_iter().flat_map(|rule| rule.matches).collect());

fn failed(log: &[u8]) -> Signal {
    let exit = Some(ExitInfo::code(1));
    let input = ClassifyInput { log, exit, ..ClassifyInput::default() };
    classify(&RULES, &input).expect("a failing exit gives a signal")
}

/// Lines of tools, noise, control bytes and pieces of escape sequences in any order.
fn hostile_log() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (0..LINES.len()).prop_map(|at| LINES[at].clone().into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => prop_oneof![
            Just(b"\x1b[31m".to_vec()), Just(b"\x1b".to_vec()), Just(b"\x1b]8;;".to_vec()), Just(b"\x1b[".to_vec()),
            Just(b"\r".to_vec()), Just(b"\r\n".to_vec()), Just(b"\0".to_vec()), Just(b"\x08".to_vec()), Just(b"\xff\xfe".to_vec()),
            Just("section_start:1:x\r\x1b[0K".into()), Just(b"##[group]Run x".to_vec()), Just(b"2026-01-01T10:00:00.1Z ".to_vec()),
        ],
        2 => Just(b"\n".to_vec()),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_signal_is_bounded_and_plain_whatever_the_log(log in hostile_log()) {
        let signal = failed(&log);
        prop_assert!((0.0..=1.0).contains(&signal.confidence));
        prop_assert!(signal.evidence.len() <= 10 && signal.locations.len() <= 50);
        prop_assert!(signal.message.chars().count() <= 300);
        prop_assert!(!signal.message.contains(|c: char| c.is_control()));
        prop_assert_eq!(signal.unknown_reason.is_some() && signal.failure_type != FailureType::Unknown, false);
        prop_assert!(signal.runner_up != Some(signal.failure_type));
    }

    #[test]
    fn chunks_of_any_size_give_the_same_signal(log in hostile_log(), size in 1_usize..200) {
        let mut stream = LogStream::new(Arc::clone(&RULES));
        for chunk in log.chunks(size) {
            stream.feed(chunk);
        }
        let exit = Some(ExitInfo::code(1));
        let input = ClassifyInput { exit, ..ClassifyInput::default() };
        prop_assert_eq!(stream.finish(&input), Some(failed(&log)));
    }

    #[test]
    fn colour_and_time_stamps_change_nothing(first in 0..LINES.len(), second in 0..LINES.len()) {
        let plain = format!("{}\n{}\n", LINES[first], LINES[second]);
        prop_assume!(!plain.contains(['\x1b', '\r', '\x08']));
        let dress = |line| format!("2026-01-31T10:20:30.1234567Z \x1b[31m{line}\x1b[0m\r\n");
        let dressed = plain.lines().map(dress).collect::<Vec<_>>().concat();
        let (plain, dressed) = (failed(plain.as_bytes()), failed(dressed.as_bytes()));
        prop_assert_eq!(&plain.failure_type, &dressed.failure_type);
        prop_assert_eq!(&plain.source, &dressed.source);
        prop_assert_eq!(&plain.fingerprint, &dressed.fingerprint);
    }

    #[test]
    fn a_fingerprint_does_not_mind_what_varies_from_run_to_run(
        (a, b) in (1_u32..100_000, 1_u32..100_000), (x, y) in ("[0-9a-f]{12,40}", "[0-9a-f]{12,40}"),
        (p, q) in ("(/[a-z]{2,8}){1,4}", "(/[a-z]{2,8}){1,4}"), day in 10..28,
    ) {
        prop_assume!([&x, &y].iter().all(|hash| hash.contains(|c: char| c.is_ascii_digit()) && hash.contains(|c: char| c.is_ascii_lowercase())));
        let text = |n: u32, hash: &str, path: &str, day: i32| format!(
            "{path}/worker.py:{n}: task {hash} failed after {n} ms at 2026-01-{day}T10:20:{:02}Z", n % 60
        );
        let of = |text: &str| fingerprint(FailureType::Runtime, "python", text, &[]);
        prop_assert_eq!(of(&text(a, &x, &p, 11)), of(&text(b, &y, &q, day)));
    }

    #[test]
    fn fingerprints_of_different_words_codes_tools_and_types_differ(a in "[a-z]{4,12}", b in "[a-z]{4,12}") {
        prop_assume!(a != b);
        prop_assume!([&a, &b].iter().all(|word| word.contains(|c: char| !c.is_ascii_hexdigit())));
        let of = |word: &str, codes: &[&str]| fingerprint(FailureType::Lint, "ruff", &format!("cannot find {word}"), codes);
        prop_assert_ne!(of(&a, &[]), of(&b, &[]));
        prop_assert_ne!(of(&a, &["E1"]), of(&a, &["E2"]));
        prop_assert_ne!(of(&a, &[]), fingerprint(FailureType::Lint, "flake8", &format!("cannot find {a}"), &[]));
        prop_assert_ne!(of(&a, &[]), fingerprint(FailureType::Runtime, "ruff", &format!("cannot find {a}"), &[]));
    }

    #[test]
    fn no_secret_reaches_a_signal(token in "[A-Za-z0-9]{36}", at in 0..LINES.len()) {
        let log = format!("{} token=ghp_{token}\nexport DB_PASSWORD={token}\nerror: cannot log in with ghp_{token}\n", LINES[at]);
        let json = serde_json::to_string(&failed(log.as_bytes())).expect("json");
        prop_assert!(!json.contains(&token), "{json}");
        let masked = mask_secrets(&log).into_owned();
        prop_assert!(!masked.contains(&token), "{masked}");
    }
}
