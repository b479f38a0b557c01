//! The process itself.

#[test]
fn the_process_exits_with_64_on_a_bad_variable_and_says_which() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_flag-resolver"))
        .args(["--set", "auth.mode=none"])
        .env("META_V3_MAX_TOTAL_ATTEMPTS", "21")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{told}");
    for part in ["META_V3_MAX_TOTAL_ATTEMPTS", "\"21\"", "1 to 20"] {
        assert!(told.contains(part), "{told}");
    }
}
