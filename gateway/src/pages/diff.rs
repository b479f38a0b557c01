//! A patch side by side.

use super::core::ansi::plain;
use super::core::diff::{FileDiff, Patch, Row, Side, read};
use super::core::words::count;
use maud::{Markup, html};

/// A patch as tables, one a file. Where there is no room for two columns the style sheet puts what
/// came below what went.
pub(super) fn patch(bytes: &[u8]) -> Markup {
    let Patch { files, left_out } = read(&String::from_utf8_lossy(bytes));
    html! {
        div.diff {
            @for file in &files { (one(file)) }
            @if left_out > 0 {
                p.fine { (count(left_out, "more row")) " not shown here; the download has them all." }
            }
        }
    }
}

/// How much a patch changes: `2 files +3 −1`.
pub(super) fn size(files: u32, added: u32, removed: u32) -> Markup {
    html! {
        span.size {
            (count(files as usize, "file"))
            " " span.plus { "+" (added) }
            " " span.minus { "−" (removed) }
        }
    }
}

fn one(file: &FileDiff) -> Markup {
    html! {
        section.file {
            header {
                code.path {
                    @if let Some(was) = &file.was { (plain(was)) " → " }
                    (plain(&file.path))
                }
                @for note in &file.notes { (super::badge::tag(note)) }
                span.size { span.plus { "+" (file.added) } " " span.minus { "−" (file.removed) } }
            }
            @if !file.hunks.is_empty() {
                div.scroll tabindex="0" role="region" aria-label=(format!("Changes of {}", plain(&file.path))) {
                    table {
                        colgroup { col.num; col; col.num; col; }
                        thead.sr { tr { th { "Line" } th { "Before" } th { "Line" } th { "After" } } }
                        @for hunk in &file.hunks {
                            tbody {
                                @if !hunk.heading.is_empty() {
                                    tr.hunk { td colspan="4" { (plain(&hunk.heading)) } }
                                } @else { tr.hunk.bare { td colspan="4" { "⋯" } } }
                                @for row in &hunk.rows { (of(row)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn of(row: &Row) -> Markup {
    match row {
        Row::Same { old, new, text } => {
            let text = plain(text);
            html! {
                tr.same {
                    td.n { (old) } td.l { (text) }
                    td.n { (new) } td.r { (text) }
                }
            }
        }
        Row::Changed { old, new } => html! {
            tr.changed {
                (side(old.as_ref(), "l"))
                (side(new.as_ref(), "r"))
            }
        },
    }
}

fn side(side: Option<&Side>, column: &str) -> Markup {
    let Some(side) = side else { return html! { td.n.none {} td.none.(column) {} } };
    let went = column == "l";
    html! {
        td.n.went[went].came[!went] { (side.number) }
        td.(column).went[went].came[!went] {
            @for (differs, text) in &side.words {
                @match (differs, went) {
                    (false, _) => (plain(text)),
                    (true, true) => del { (plain(text)) },
                    (true, false) => ins { (plain(text)) },
                }
            }
        }
    }
}
