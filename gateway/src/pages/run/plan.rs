//! How the plan changed while the run went on.

use super::View;
use crate::pages::badge::word;
use crate::pages::core::ansi::plain;
use crate::pages::core::words::{duration, spaced};
use crate::pages::gates::time;
use maud::{Markup, html};
use meta_domain::plan::PlanOpKind;
use meta_proto::common::PlanOp;
use meta_proto::convert::instant;

/// The changes of the plan, first one first.
pub(super) fn deltas(view: &View<'_>) -> Markup {
    let count = u32::try_from(view.run.deltas.len()).unwrap_or(u32::MAX);
    let first = view.run.plan_version.saturating_sub(count);
    html! {
        @if !view.run.deltas.is_empty() {
            h2 { "Plan changes" }
            div.stack {
                @for (delta, version) in view.run.deltas.iter().zip(first..) {
                    article.card.delta {
                        header {
                            h3 { "Version " (version) " → " (version + 1) }
                            span.when {
                                "because of " code { (plain(&delta.triggered_by)) }
                                @if let Some(at) = delta.created_at.as_ref().map(instant) { " · " (time(at, view.now)) }
                            }
                        }
                        ul.plain { @for op in &delta.ops { li { (one(op)) } } }
                    }
                }
            }
        }
    }
}

fn one(op: &PlanOp) -> Markup {
    let names = |names: &[String]| names.iter().map(|n| plain(n)).collect::<Vec<_>>().join(", ");
    let parts: Vec<String> = op.parts.iter().map(|p| p.name.clone()).collect();
    html! {
        strong { (spaced(&word::<PlanOpKind>(op.kind))) } " " code { (plain(&op.step)) }
        @if let Some(ms) = op.timeout_ms { " to " (duration(ms)) }
        @if let Some(insert) = &op.insert { ": " code { (plain(&insert.name)) } " goes first" }
        @if !op.needs.is_empty() { ": also after " (names(&op.needs)) }
        @if !op.env.is_empty() { ": sets " (names(&op.env.keys().cloned().collect::<Vec<_>>())) }
        @if !parts.is_empty() { " into " (names(&parts)) }
        @if !op.why.is_empty() { span.fine { " — " (plain(&op.why)) } }
    }
}
