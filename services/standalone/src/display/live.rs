//! The terminal display: a spinner with the elapsed time for each step at work, and a line for
//! each that had its last word.

use super::lines::{Layout, Paint};
use crate::progress::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Live {
    layout: Layout,
    bars: MultiProgress,
    at_work: BTreeMap<String, ProgressBar>,
}

impl Live {
    /// An empty display on standard output.
    pub fn new() -> Self {
        Self {
            layout: Layout::new(Paint::coloured()),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            at_work: BTreeMap::new(),
        }
    }

    pub(super) fn paint(&self) -> Paint {
        self.layout.paint()
    }

    /// Shows one happening.
    pub(super) fn show(&mut self, progress: &Progress) -> io::Result<()> {
        match progress {
            Progress::StepStarted { step, attempt } => self.started(step, *attempt),
            Progress::StepSucceeded { step, .. }
            | Progress::StepFailed { step, .. }
            | Progress::ApprovalNeeded { step, .. } => self.stop(step),
            Progress::Failure(_)
            | Progress::Fixing { .. }
            | Progress::Fix { .. }
            | Progress::Retry { .. } => {
                if let Some((step, text)) = Layout::doing(progress)
                    && let Some(bar) = self.at_work.get(step)
                {
                    bar.set_message(text);
                }
            }
            Progress::Plan { .. }
            | Progress::PatchApplied { .. }
            | Progress::Replanned { .. }
            | Progress::RolledBack { .. }
            | Progress::Decided { .. }
            | Progress::Log { .. }
            | Progress::RunFinished { .. } => {}
        }
        for line in self.layout.lines(progress, false) {
            self.print(&line)?;
        }
        Ok(())
    }

    pub(super) fn passed_before(&mut self, step: &str) -> String {
        self.layout.passed_before(step)
    }

    /// A line above the spinners.
    fn print(&self, line: &str) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        })
    }

    fn started(&mut self, step: &str, attempt: u32) {
        let text = if attempt > 1 { format!("attempt {attempt}") } else { String::new() };
        if let Some(bar) = self.at_work.get(step) {
            bar.set_message(text);
            return;
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        let template = " {spinner:.cyan} {prefix}  {elapsed:>6}   {wide_msg:.dim}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(self.layout.padded(step));
        bar.set_message(text);
        bar.enable_steady_tick(TICK);
        self.at_work.insert(step.to_owned(), bar);
    }

    fn stop(&mut self, step: &str) {
        if let Some(bar) = self.at_work.remove(step) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Takes the spinners away; the lines of the steps that were not reached.
    pub(super) fn close(&mut self) -> Vec<String> {
        for bar in std::mem::take(&mut self.at_work).into_values() {
            bar.finish_and_clear();
        }
        self.layout.rest()
    }
}
