//! Specs: what to build.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document};
use crate::idempotency::{Creation, once};
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params, id};
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, Uri};
use meta_domain::fault::InvalidField;
use meta_domain::id::SpecId;
use meta_domain::limits::{DESCRIPTION_CHARS_MAX, INLINE_BYTES_MAX, TITLE_CHARS_MAX};
use meta_domain::project::{StepSpec, check_steps, is_inside};
use meta_domain::source::Source;
use meta_proto::convert::list as messages;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The runs that come along with a spec.
const RECENT_RUNS: u32 = 5;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSpec {
    title: String,
    mode: String,
    #[serde(default)]
    description: String,
    guided_input: Option<Map<String, Value>>,
    attachments: Option<Vec<Value>>,
    source: Option<NewSource>,
    #[serde(default)]
    steps: Vec<StepSpec>,
}

/// [`Source`] as a caller writes it: what is not known is refused.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum NewSource {
    Git {
        url: String,
        #[serde(default, rename = "ref")]
        reference: String,
    },
    Path {
        path: String,
    },
    Inline {
        files: BTreeMap<String, String>,
    },
}

/// `POST /specs`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let request = message(payload.read()?).map_err(|f| Problem::fields("invalid_field", &f))?;
    let creation = Creation {
        caller: &caller,
        headers: &headers,
        route: "POST /specs".to_owned(),
        body: payload.bytes(),
        takes: caller.timeout(),
    };
    let (peers, asking) = (app.peers.clone(), caller.clone());
    let work = async move {
        let mut specs = app.peers.specs();
        let answer = specs.create_spec(asking.message(request));
        let (made, quota) = asking.ask_counted(asking.timeout(), answer).await?;
        let spec = made.spec.unwrap_or_default();
        let document = Document::of(view::spec::spec(&spec, true));
        Ok(Answer::created(document).found_at(&format!("/specs/{}", spec.id)).counted(quota))
    };
    once(&peers, creation, work).await
}

/// Checks a new spec and makes a message of it.
fn message(new: NewSpec) -> Result<pb::CreateSpecRequest, Vec<InvalidField>> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, problem: String| faults.push(InvalidField::new(path, problem));
    if !(1..=TITLE_CHARS_MAX).contains(&new.title.trim().chars().count()) {
        fault("title", format!("is not a title (expected 1 to {TITLE_CHARS_MAX} characters)"));
    }
    if new.description.chars().count() > DESCRIPTION_CHARS_MAX {
        fault(
            "description",
            format!("is too long (expected {DESCRIPTION_CHARS_MAX} characters at most)"),
        );
    }
    let mode = match new.mode.as_str() {
        "guided" => pb::SpecMode::Guided,
        "freeform" => pb::SpecMode::Freeform,
        other => {
            fault("mode", format!("{other:?} is not a mode (expected guided or freeform)"));
            pb::SpecMode::Unspecified
        }
    };
    let source = new.source.map(Source::from);
    if let Some(source) = &source {
        check_source(source, &mut faults);
    }
    let steps = check_steps(&new.steps, "the spec").unwrap_or_else(|mut more| {
        more.iter_mut().for_each(in_the_document);
        faults.append(&mut more);
        Vec::new()
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(pb::CreateSpecRequest {
        title: new.title,
        description: new.description,
        mode: mode.into(),
        source: source.map(Into::into),
        steps: messages(steps),
        guided_input_json: new.guided_input.map(|m| Value::from(m).to_string()).unwrap_or_default(),
        attachments_json: new.attachments.map(|l| Value::from(l).to_string()).unwrap_or_default(),
    })
}

/// The check of steps speaks of `step[2]` and `needs`; in a spec the list is called `steps`.
fn in_the_document(fault: &mut InvalidField) {
    fault.path = match fault.path.strip_prefix("step[") {
        Some(rest) => format!("steps[{rest}"),
        None => "steps".to_owned(),
    };
}

impl From<NewSource> for Source {
    fn from(new: NewSource) -> Self {
        match new {
            NewSource::Git { url, reference } => Self::Git { url, reference },
            NewSource::Path { path } => Self::Path { path },
            NewSource::Inline { files } => Self::Inline { files },
        }
    }
}

fn check_source(source: &Source, faults: &mut Vec<InvalidField>) {
    let mut fault = |path: &str, problem: String| faults.push(InvalidField::new(path, problem));
    match source {
        Source::Git { url, reference } => {
            let odd = |text: &str| text.starts_with('-') || text.contains(char::is_control);
            if url.trim().is_empty() || odd(url) {
                fault("source.url", format!("{url:?} is not an address that git can clone"));
            }
            if odd(reference) {
                fault("source.ref", format!("{reference:?} is not a branch, tag or commit"));
            }
        }
        Source::Path { path } => {
            if !path.starts_with('/') || path.contains('\0') {
                fault("source.path", format!("{path:?} is not a path (expected an absolute path)"));
            }
        }
        Source::Inline { files } => {
            let bytes: usize = files.values().map(String::len).sum();
            if bytes > INLINE_BYTES_MAX {
                let problem = format!("{bytes} bytes (expected at most {INLINE_BYTES_MAX})");
                fault("source.files", problem);
            }
            for path in files.keys().filter(|p| !is_inside(p)) {
                let problem = format!(
                    "{path:?} leaves the workspace (expected a relative path without '..')"
                );
                fault("source.files", problem);
            }
        }
    }
}

/// `GET /specs`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let params = Params::read(&uri, &["per_page", "page_token"])?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let page_token = params.text("page_token").unwrap_or_default().to_owned();
    let message = caller.message(pb::ListSpecsRequest { page_size, page_token });
    let page = caller.ask(app.peers.specs().list_specs(message)).await?;
    let token = page.next_page_token;
    let next = (!token.is_empty()).then(|| params.link("/specs", "page_token", &token));
    let specs = page.specs.iter().map(|s| view::spec::spec(s, false)).collect();
    Ok(Document::list(specs).link("next", next))
}

/// `GET /specs/{spec_id}`: with its latest plan and its most recent runs.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(spec_id): Path<String>,
    uri: Uri,
) -> Result<Document, Problem> {
    Params::read(&uri, &[])?;
    let spec_id = id::<SpecId>("spec_id", &spec_id)?.to_string();
    let one = caller.message(pb::GetSpecRequest { spec_id: spec_id.clone() });
    let recent = caller.message(pb::ListRunsRequest {
        page_size: RECENT_RUNS,
        spec_id,
        ..pb::ListRunsRequest::default()
    });
    let (mut specs, mut runs) = (app.peers.specs(), app.peers.runs());
    let (found, recent) =
        tokio::try_join!(caller.ask(specs.get_spec(one)), caller.ask(runs.list_runs(recent)))?;
    let runs: Vec<_> = recent.runs.iter().map(view::run::run).collect();
    let mut spec = view::spec::spec(&found.spec.unwrap_or_default(), true).many("runs", &runs);
    let mut included = Vec::new();
    if let Some(plan) = &found.latest_plan {
        spec = spec.one("plan", "plan", &plan.id);
        included.push(view::plan::plan(plan));
    }
    included.extend(runs);
    Ok(Document::of(spec).include(included))
}
