//! `metabuilder flaky`: what failed and passed on the same commit without a change.

use crate::args::{Output, OutputArgs};
use crate::display::table::table;
use crate::display::{print, print_json};
use crate::error::{Error, Exit, Result};
use crate::row;
use crate::session::{Local, Session};
use meta_domain::failure::FailureType;
use meta_proto::convert::{instant, word_opt};
use meta_proto::orchestrator as pb;
use serde_json::{Value, json};

/// Lists the register.
pub async fn run(args: &OutputArgs, session: &Session) -> Result<Exit> {
    if session.server()?.is_some() {
        let why = "the register of a server is read with RunService.ListFlaky, over gRPC";
        return Err(Error::usage("flaky looks at this machine's runs", why)
            .next("unset METABUILDER_URL to see them"));
    }
    let local = Local::open(session).await?;
    let steps = local.reader().await?.flaky().await?;
    match args.output {
        Output::Json => steps.iter().map(shown).try_for_each(|s| print_json(&s))?,
        Output::Text if steps.is_empty() => print("no step was seen to be flaky")?,
        Output::Text => {
            let mut rows = vec![row!["STEP", "TIMES", "TYPE", "LAST RUN", "FAILURE", "SOURCE"]];
            rows.extend(steps.iter().map(|s| {
                let kind = kind_of(s);
                row![s.step, s.times, kind, format!("{:.8}", s.run_id), s.message, s.source]
            }));
            print(&table(&rows))?;
        }
    }
    Ok(Exit::Done)
}

fn kind_of(step: &pb::FlakyStep) -> String {
    let known = word_opt::<FailureType>("failure_type", step.failure_type).ok().flatten();
    known.map(|t| t.to_string()).unwrap_or_default()
}

fn shown(step: &pb::FlakyStep) -> Value {
    let ms = |t: &Option<_>| t.as_ref().map(|t| instant(t).0);
    json!({
        "step": step.step,
        "source": step.source,
        "fingerprint": step.fingerprint,
        "failure_type": kind_of(step),
        "message": step.message,
        "times": step.times,
        "first_seen_ms": ms(&step.first_seen),
        "last_seen_ms": ms(&step.last_seen),
        "run_id": step.run_id,
    })
}
