//! The plan as a drawing. The table below it says the same in words, so that this is hidden from
//! screen readers and the keyboard.

use super::View;
use super::log::Chosen;
use crate::pages::badge::State;
use crate::pages::core::ansi::plain;
use crate::pages::core::graph::{Layout, Node, Place, layout};
use crate::pages::core::words::duration;
use maud::{Markup, html};
use meta_proto::orchestrator as pb;

const HEIGHT: usize = 48;
const GAP_Y: usize = 14;
const MARGIN: usize = 2;
/// Columns that have room for wide boxes.
const WIDE_COLUMNS_MAX: usize = 5;

/// The measures of a drawing, in pixels, and the characters of a name that fit.
#[derive(Clone, Copy)]
struct Grid {
    width: usize,
    gap: usize,
    name_chars: usize,
}

impl Grid {
    fn of(columns: usize) -> Self {
        if columns <= WIDE_COLUMNS_MAX {
            Self { width: 184, gap: 44, name_chars: 17 }
        } else {
            Self { width: 144, gap: 24, name_chars: 12 }
        }
    }

    fn corner(self, place: Place) -> (usize, usize) {
        (MARGIN + place.column * (self.width + self.gap), MARGIN + place.row * (HEIGHT + GAP_Y))
    }
}

/// The steps and what each waits for.
pub(super) fn graph(view: &View<'_>, chosen: &Chosen) -> Markup {
    let steps: Vec<(&pb::RunStep, &str, &[String])> = view
        .run
        .steps
        .iter()
        .filter_map(|s| s.step.as_ref().map(|p| (s, p.name.as_str(), p.needs.as_slice())))
        .collect();
    let nodes: Vec<_> = steps.iter().map(|(_, name, needs)| Node { name, needs }).collect();
    let Layout { places, edges, columns, rows } = layout(&nodes);
    if places.is_empty() {
        return html! {};
    }
    let grid = Grid::of(columns);
    let width = columns * (grid.width + grid.gap) - grid.gap + 2 * MARGIN;
    let height = rows * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN;
    html! {
        div.graph tabindex="0" role="region" aria-label="Drawing of the plan; the table below says the same" {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) aria-hidden="true" focusable="false" {
                @for (from, to) in &edges { (edge(grid, places[*from], places[*to], State::of_step(steps[*from].0.status))) }
                @for ((step, name, _), place) in steps.iter().zip(&places) {
                    (node(view, step, grid.corner(*place), grid, chosen.step == *name))
                }
            }
        }
    }
}

fn edge(grid: Grid, from: Place, to: Place, state: State) -> Markup {
    let ((x, y), (to_x, to_y)) = (grid.corner(from), grid.corner(to));
    let (x, y, to_y) = (x + grid.width, y + HEIGHT / 2, to_y + HEIGHT / 2);
    let middle = usize::midpoint(x, to_x);
    html! { path.edge.(state.class()) d=(format!("M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}")) {} }
}

fn node(
    view: &View<'_>,
    step: &pb::RunStep,
    (x, y): (usize, usize),
    grid: Grid,
    is_chosen: bool,
) -> Markup {
    let name = step.step.as_ref().map_or("", |s| s.name.as_str());
    let (state, said) = super::steps::state(view, step);
    let href = super::evidence::place(&view.run.id, name, None, 0);
    let shown = plain(name);
    let mut short: String = shown.chars().take(grid.name_chars).collect();
    if shown.chars().count() > grid.name_chars {
        short.push('…');
    }
    html! {
        a.node.(state.class()).chosen[is_chosen] href=(href) tabindex="-1" {
            title { (shown) }
            rect x=(x) y=(y) width=(grid.width) height=(HEIGHT) rx="7" {}
            g.ico.(state.class()) transform=(format!("translate({} {})", x + 12, y + 9)) { (state.drawn()) }
            text.name x=(x + 36) y=(y + 21) { (short) }
            text.sub x=(x + 36) y=(y + 38) { (under(step, said)) }
        }
    }
}

fn under(step: &pb::RunStep, mut said: String) -> String {
    if step.duration_ms > 0 {
        said.push_str(&format!(" · {}", duration(step.duration_ms)));
    }
    if step.executions > 1 {
        said.push_str(&format!(" · ×{}", step.executions));
    }
    said
}
