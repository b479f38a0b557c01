use super::*;
use meta_domain::project::parse;

const CI: &str = r#"
name: CI
on: [push]
env: { RUST_BACKTRACE: 1, TOKEN: "${{ secrets.TOKEN }}" }
jobs:
  test:
    needs: [lint]
    runs-on: ubuntu-latest
    strategy: { matrix: { python: ["3.11", "3.12"] } }
    defaults: { run: { working-directory: app dir } }
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
      - name: Install
        run: pip install -r requirements.txt
      - run: |
          python${{ matrix.python }} -m pytest
          echo "it's done"
        shell: bash
        timeout-minutes: 10
      - name: Tell about it
        if: ${{ failure() }}
        run: ./tell.sh
      - run: echo ${{ secrets.TOKEN }}
  lint:
    runs-on: ubuntu-latest
    steps:
      - run: ruff check .
        env: { CI: true }
      - uses: codecov/codecov-action@v4
      - { run: "print(1)", shell: python }
"#;

fn imported() -> String {
    import(CI, ".github/workflows/ci.yml").unwrap()
}

#[test]
fn run_steps_become_steps_in_the_order_of_their_jobs() {
    let project = parse(&imported()).unwrap();
    let steps: Vec<_> =
        project.steps.iter().map(|s| (s.name.as_str(), s.needs.join(" "))).collect();
    let expected = [
        ("lint-ruff-check", ""),
        ("lint-print-1", "lint-ruff-check"),
        ("test-install", "lint-print-1"),
        ("test-python-matrix-python-m-pytest", "test-install"),
    ];
    assert_eq!(steps, expected.map(|(a, b)| (a, b.to_owned())));
}

#[test]
fn shells_folders_variables_and_limits_are_carried_over() {
    let project = parse(&imported()).unwrap();
    let of = |name: &str| project.steps.iter().find(|s| s.name == name).unwrap();
    let test = of("test-python-matrix-python-m-pytest");
    let script = "set -eo pipefail\ncd 'app dir'\npython3.11 -m pytest\necho \"it's done\"";
    assert_eq!(test.run.to_string(), script);
    assert_eq!(test.timeout_ms, 600_000);
    assert!(!test.network && of("test-install").network);
    let lint = of("lint-ruff-check");
    assert_eq!(lint.env.get("CI").map(String::as_str), Some("true"));
    assert_eq!(lint.env.get("RUST_BACKTRACE").map(String::as_str), Some("1"));
    assert!(!lint.env.contains_key("TOKEN"));
}

#[test]
fn what_is_not_imported_is_said() {
    let text = imported();
    for said in [
        "\"codecov/codecov-action@v4\" of job lint is not imported: it uses codecov/codecov-action",
        "actions/setup-python installs a toolchain",
        "\"Tell about it\" of job test is not imported: it only runs if failure()",
        "nothing here stands for ${{ secrets.TOKEN }}",
        "job test has a matrix: imported with python = 3.11",
        "TOKEN is not set",
    ] {
        assert!(text.contains(said), "{said:?} is not in\n{text}");
    }
    assert!(!text.contains("actions/checkout"));
}

#[test]
fn a_file_that_is_no_workflow_is_refused_with_the_reason() {
    assert!(import("a: b", "x").unwrap_err().contains("no jobs"));
    assert!(import("jobs: [", "x").is_err());
    assert!(import("jobs: {a: {steps: [{uses: a/b@v1}]}}", "x").unwrap_err().contains("none"));
    assert!(import("jobs: {a: {steps: 3}}", "x").unwrap_err().contains("jobs.a"));
}

#[test]
fn names_are_unique_and_short_enough() {
    let long = "x".repeat(200);
    let text =
        format!("jobs: {{a: {{steps: [{{run: {long}}}, {{run: {long}}}, {{run: '---'}}]}}}}");
    let project = parse(&import(&text, "x").unwrap()).unwrap();
    assert_eq!(project.steps.len(), 3);
    assert_eq!(project.steps[2].name, "step");
}

#[test]
fn hostile_texts_stay_inside_their_quotes() {
    let text = "name: \"a\\n[[step]]\"\njobs: {a: {steps: [{name: \"b\\n[[step]]\", run: \"echo '''\\necho \\\"x\\\"\"}]}}";
    let project = parse(&import(text, "o\nrun = 1").unwrap()).unwrap();
    assert_eq!(project.steps.len(), 1);
    assert_eq!(project.steps[0].run.to_string(), "set -e\necho '''\necho \"x\"");
}
