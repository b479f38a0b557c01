//! Specs.

use super::{at, json, plan, text};
use crate::document::Resource;
use meta_proto::common::{Source, source};
use meta_proto::orchestrator::{Spec, SpecMode};
use serde_json::{Value, json};

/// A spec. Inline files are given in full only where it is the subject of the document; elsewhere
/// their paths stand for them.
pub(crate) fn spec(spec: &Spec, in_full: bool) -> Resource {
    let mode = match SpecMode::try_from(spec.mode) {
        Ok(SpecMode::Guided) => "guided".into(),
        Ok(SpecMode::Freeform) => "freeform".into(),
        Ok(SpecMode::Unspecified) | Err(_) => Value::Null,
    };
    let attributes = json!({
        "title": spec.title,
        "description": spec.description,
        "mode": mode,
        "source": spec.source.as_ref().map(|s| source(s, in_full)),
        "steps": spec.steps.iter().map(plan::step).collect::<Vec<_>>(),
        "guided_input": json(&spec.guided_input_json),
        "attachments": json(&spec.attachments_json),
        "created_by": text(&spec.created_by),
        "created_at": at(spec.created_at.as_ref()),
    });
    Resource::new("spec", &spec.id, attributes)
}

fn source(source: &Source, in_full: bool) -> Value {
    match &source.kind {
        Some(source::Kind::Git(git)) => {
            json!({ "kind": "git", "url": git.url, "ref": text(&git.r#ref) })
        }
        Some(source::Kind::Path(path)) => json!({ "kind": "path", "path": path.path }),
        Some(source::Kind::Inline(inline)) if in_full => {
            json!({ "kind": "inline", "files": inline.files })
        }
        Some(source::Kind::Inline(inline)) => {
            let mut paths: Vec<_> = inline.files.keys().collect();
            paths.sort();
            json!({ "kind": "inline", "paths": paths })
        }
        None => Value::Null,
    }
}
