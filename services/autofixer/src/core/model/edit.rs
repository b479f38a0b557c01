//! Applies blocks to the files as they are: exactly, else with another uniform indentation, else not
//! at all.

use super::reply::{Block, Change};
use crate::core::guard::paths::Reach;
use meta_domain::autofix::{FileEdit, FixerCommand, SourceFile};
use meta_domain::masking::masked;
use meta_domain::secrecy::MASK;
use std::collections::BTreeMap;

/// What blocks are applied to.
pub struct Scene<'a> {
    /// The collected files.
    pub files: &'a [SourceFile],
    /// All paths of the workspace.
    pub paths: &'a [String],
    /// The model fixer of the decision.
    pub fixer: &'a FixerCommand,
    /// Paths that the plan lists as writable.
    pub writable: &'a [String],
}

/// The files after the blocks.
///
/// # Errors
/// What is wrong with each block, in words for the model.
pub fn apply(blocks: &[Block], scene: &Scene<'_>) -> Result<Vec<FileEdit>, Vec<String>> {
    let reach = Reach::of(scene.writable, &scene.fixer.grant.add);
    let mut after: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let path = block.path.trim_start_matches("./");
        let now = after.get(path).cloned().unwrap_or_else(|| {
            scene.files.iter().find(|f| f.path == path).map(|f| f.contents.clone())
        });
        match changed(path, now.as_deref(), &block.change, scene, &reach) {
            Ok(text) => {
                after.insert(path.to_owned(), text);
            }
            Err(problem) => problems.push(format!("block {} ({path}): {problem}", index + 1)),
        }
    }
    let before = |path: &str| scene.files.iter().find(|f| f.path == path);
    after.retain(|path, text| before(path).map(|f| &f.contents) != text.as_ref());
    if problems.is_empty() && after.is_empty() {
        problems.push("the blocks change nothing".to_owned());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(after.into_iter().map(|(path, contents)| FileEdit { path, contents }).collect())
}

fn changed(
    path: &str,
    now: Option<&str>,
    change: &Change,
    scene: &Scene<'_>,
    reach: &Reach,
) -> Result<Option<String>, String> {
    if let Some(problem) = reach.problem(path) {
        return Err(format!("the file may not be edited: {problem}"));
    }
    let wanted = scene.fixer.context.files.iter().find(|w| w.path == path);
    if wanted.is_some_and(|w| w.read_only) {
        return Err("the file is read-only: heal the code it tests".to_owned());
    }
    let there = scene.paths.iter().any(|p| p == path);
    match (change, now) {
        (Change::Delete, Some(_)) => Ok(None),
        (_, None) if there => Err("the file was not shown: it cannot be edited unseen".to_owned()),
        (Change::Delete, None) => Err("there is no such file".to_owned()),
        (Change::Replace { search, replace }, now) => {
            let empty = search.iter().all(|l| l.trim().is_empty());
            match now {
                None | Some("") if empty => Ok(Some(ended(replace))),
                None => Err("there is no such file (an empty SEARCH part makes one)".to_owned()),
                Some(_) if empty => Err("the file exists: its SEARCH part is empty".to_owned()),
                Some(text) => replaced(text, search, replace).map(Some),
            }
        }
    }
}

fn ended(lines: &[String]) -> String {
    lines.iter().flat_map(|l| [l.as_str(), "\n"]).collect()
}

/// A text with one place exchanged.
fn replaced(text: &str, search: &[String], replace: &[String]) -> Result<String, String> {
    let crlf = text.contains("\r\n");
    // A file without a line break at its end keeps it so: that is not this block's business.
    let bare_end = !text.ends_with('\n');
    let lines: Vec<&str> = text.lines().collect();
    // The model saw the file without its secrets.
    let shown: Vec<String> = lines.iter().map(|l| masked(l)).collect();
    let place = place(&shown, search)?;
    let at = place.at..place.at + search.len();
    let mut new: Vec<String> = Vec::new();
    for line in replace {
        let line = indented(line, &place.shift);
        if line.contains(MASK) {
            let original = at.clone().find(|i| shown[*i].trim() == line.trim());
            let original = original.ok_or("a line with ******** is not one of the file's")?;
            new.push(lines[original].to_owned());
        } else {
            new.push(line);
        }
    }
    let mut out: Vec<String> = lines[..at.start].iter().map(|l| (*l).to_owned()).collect();
    out.extend(new);
    out.extend(lines[at.end..].iter().map(|l| (*l).to_owned()));
    let end = if crlf { "\r\n" } else { "\n" };
    let mut joined = out.join(end);
    if !bare_end && !joined.is_empty() {
        joined.push_str(end);
    }
    Ok(joined)
}

/// Where a block's lines stand, and how much further in or out.
struct Place {
    at: usize,
    shift: Shift,
}

/// How a block's indentation differs from the file's.
enum Shift {
    None,
    In(String),
    Out(String),
}

fn place(lines: &[String], search: &[String]) -> Result<Place, String> {
    let windows = || 0..(lines.len() + 1).saturating_sub(search.len());
    let fits = |at: usize, same: &dyn Fn(&str, &str) -> bool| {
        search.iter().enumerate().all(|(i, s)| same(&lines[at + i], s))
    };
    let exact: Vec<usize> = windows().filter(|at| fits(*at, &|a, b| a == b)).collect();
    let loose: Vec<usize> = if exact.is_empty() {
        windows().filter(|at| fits(*at, &|a, b| a.trim_end() == b.trim_end())).collect()
    } else {
        exact
    };
    match loose.as_slice() {
        [at] => return Ok(Place { at: *at, shift: Shift::None }),
        [] => {}
        many => {
            return Err(format!(
                "its SEARCH part stands {} times in the file: add lines around it",
                many.len()
            ));
        }
    }
    let shifted: Vec<Place> = windows().filter_map(|at| shifted(lines, search, at)).collect();
    match shifted.len() {
        1 => shifted.into_iter().next().ok_or_else(String::new),
        0 => Err(format!(
            "its SEARCH part does not stand in the file; it begins {:?}",
            search.first().map_or("", String::as_str).chars().take(80).collect::<String>()
        )),
        n => Err(format!("its SEARCH part stands {n} times in the file: add lines around it")),
    }
}

/// Whether the lines stand at `at` when all of them move in or out by the same blanks.
fn shifted(lines: &[String], search: &[String], at: usize) -> Option<Place> {
    let mut shift: Option<Shift> = None;
    for (line, wanted) in lines[at..].iter().zip(search) {
        if line.trim().is_empty() && wanted.trim().is_empty() {
            continue;
        }
        if line.trim() != wanted.trim() {
            return None;
        }
        let indent = |l: &str| l[..l.len() - l.trim_start().len()].to_owned();
        let (have, want) = (indent(line), indent(wanted));
        let this = if let Some(more) = have.strip_suffix(want.as_str()).filter(|m| !m.is_empty()) {
            Shift::In(more.to_owned())
        } else if let Some(less) = want.strip_suffix(have.as_str()).filter(|m| !m.is_empty()) {
            Shift::Out(less.to_owned())
        } else if have == want {
            Shift::None
        } else {
            return None;
        };
        match (&shift, &this) {
            (None, _) => shift = Some(this),
            (Some(Shift::In(a)), Shift::In(b)) | (Some(Shift::Out(a)), Shift::Out(b)) if a == b => {
            }
            (Some(Shift::None), Shift::None) => {}
            _ => return None,
        }
    }
    Some(Place { at, shift: shift? })
}

fn indented(line: &str, shift: &Shift) -> String {
    match shift {
        Shift::None => line.to_owned(),
        _ if line.trim().is_empty() => line.to_owned(),
        Shift::In(more) => format!("{more}{line}"),
        Shift::Out(less) => line.strip_prefix(less.as_str()).unwrap_or(line).to_owned(),
    }
}
