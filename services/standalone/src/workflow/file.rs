//! Imported steps as the text of a `metabuilder.toml`.

use super::Part;
use meta_domain::plan::Command;
use meta_domain::project::StepSpec;

/// The text of the file.
pub(super) fn text(name: &str, origin: &str, parts: &[Part]) -> String {
    let title = if name.is_empty() { String::new() } else { format!(" ({})", one_line(name)) };
    let mut text = format!(
        "# Imported from {}{title} by `metabuilder plan --from`: look at it before you use it.\n",
        one_line(origin)
    );
    for part in parts {
        match part {
            Part::Note(note) => text.push_str(&format!("\n# {}\n", one_line(note))),
            Part::Step { notes, spec } => text.push_str(&step(notes, spec)),
        }
    }
    text
}

fn step(notes: &[String], spec: &StepSpec) -> String {
    let mut lines = vec![String::new()];
    lines.extend(notes.iter().map(|note| format!("# {}", one_line(note))));
    lines.push("[[step]]".to_owned());
    lines.push(format!("name = {}", word(&spec.name)));
    match &spec.run {
        Some(Command::Shell(line)) if line.contains('\n') => {
            lines.push(format!("run = {}", script(line)));
        }
        Some(Command::Shell(line)) => lines.push(format!("run = {}", word(line))),
        Some(Command::Argv(words)) => lines.push(format!("run = {}", list(words))),
        None => {}
    }
    if !spec.needs.is_empty() {
        lines.push(format!("needs = {}", list(&spec.needs)));
    }
    if let Some(timeout) = &spec.timeout {
        lines.push(format!("timeout = {}", word(timeout)));
    }
    if !spec.env.is_empty() {
        let env: Vec<_> =
            spec.env.iter().map(|(k, v)| format!("{} = {}", word(k), word(v))).collect();
        lines.push(format!("env = {{ {} }}", env.join(", ")));
    }
    if spec.network {
        lines.push("network = true".to_owned());
    }
    lines.join("\n") + "\n"
}

fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|w| word(w)).collect::<Vec<_>>().join(", "))
}

/// A text of TOML on one line.
fn word(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A script over several lines: as it is where TOML can hold it so.
fn script(text: &str) -> String {
    let literal =
        !text.contains("'''") && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    if literal && !text.ends_with('\'') { format!("'''\n{text}'''") } else { word(text) }
}

fn one_line(text: &str) -> String {
    crate::patch::printable(&text.replace(['\n', '\t'], " "))
}
