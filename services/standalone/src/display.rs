//! Shows what happens: live with spinners on a terminal, plain lines elsewhere, or JSON.

pub mod lines;
mod live;
pub mod table;

use crate::args::Output;
use crate::data::Vars;
use crate::progress::Progress;
use lines::{Layout, Paint};
use live::Live;
use std::io::{IsTerminal, Write};

/// Where and how a run is shown.
#[derive(Debug)]
pub enum Display {
    /// One JSON object a line.
    Json,
    /// Lines without colour.
    Plain(Layout),
    /// Spinners and colour.
    Live(Box<Live>),
}

/// Whether standard output may be coloured: a terminal, and nobody said no.
pub fn colour(vars: &Vars) -> bool {
    let set = |name: &str| vars.get(name).is_some_and(|v| !v.is_empty());
    let dumb = vars.get("TERM").is_some_and(|t| t == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

impl Display {
    /// The display that fits the flag and the terminal.
    pub fn new(output: Output, vars: &Vars) -> Self {
        match output {
            Output::Json => Self::Json,
            Output::Text if colour(vars) => Self::Live(Box::new(Live::new())),
            Output::Text => Self::Plain(Layout::new(Paint::plain())),
        }
    }

    /// Shows one happening.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn show(&mut self, progress: &Progress) -> std::io::Result<()> {
        match self {
            Self::Json => print_json(progress),
            Self::Plain(layout) => {
                let mut out = std::io::stdout().lock();
                for line in layout.lines(progress, true) {
                    writeln!(out, "{line}")?;
                }
                out.flush()
            }
            Self::Live(live) => live.show(progress),
        }
    }

    /// Prints text for people below what was shown; nothing in JSON.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn say(&mut self, text: &str) -> std::io::Result<()> {
        match self {
            Self::Json => Ok(()),
            Self::Plain(_) | Self::Live(_) => print(text),
        }
    }

    /// A step that passed before this command began.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn passed_before(&mut self, step: &str) -> std::io::Result<()> {
        let line = match self {
            Self::Json => return Ok(()),
            Self::Plain(layout) => layout.passed_before(step),
            Self::Live(live) => live.passed_before(step),
        };
        self.say(&line)
    }

    /// Ends the spinners; the steps that were not reached are named.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn close(&mut self) -> std::io::Result<()> {
        let rest = match self {
            Self::Json => Vec::new(),
            Self::Plain(layout) => layout.rest(),
            Self::Live(live) => live.close(),
        };
        rest.iter().try_for_each(|line| self.say(line))
    }

    /// The colours of this display.
    pub fn paint(&self) -> Paint {
        match self {
            Self::Json | Self::Plain(_) => Paint::plain(),
            Self::Live(live) => live.paint(),
        }
    }
}

/// Prints text and ends the line.
///
/// # Errors
/// When standard output is gone.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints one JSON object on a line of its own.
///
/// # Errors
/// When standard output is gone.
pub fn print_json(value: &impl serde::Serialize) -> std::io::Result<()> {
    print(&serde_json::to_string(value)?)
}
