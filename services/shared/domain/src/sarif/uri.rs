//! Where a SARIF log says a file is, as a path of the workspace.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Bases that may stand on one another.
const BASES_MAX: usize = 8;

/// A place, perhaps relative to a named base, perhaps one of the run's list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Location {
    uri: Option<String>,
    uri_base_id: Option<String>,
    index: Option<i64>,
}

/// An entry of the run's list of files.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Artifact {
    location: Location,
}

/// What a run's places are relative to.
pub(super) struct Bases<'a> {
    /// The workspace, as the tool saw it.
    pub(super) root: &'a str,
    pub(super) ids: &'a BTreeMap<String, Location>,
    pub(super) artifacts: &'a [Artifact],
}

impl Bases<'_> {
    /// The workspace's path of a place; why not, when it is outside or no place at all.
    pub(super) fn path_of(&self, location: &Location) -> Result<String, String> {
        let listed = || {
            let index = usize::try_from(location.index?).ok()?;
            self.artifacts.get(index).map(|artifact| &artifact.location)
        };
        let location = match &location.uri {
            Some(_) => location,
            None => listed().ok_or("a fix names no file")?,
        };
        let uri = location.uri.as_deref().ok_or("a fix names no file")?;
        let mut path = path(uri)?;
        let mut base = location.uri_base_id.as_deref();
        for _ in 0..BASES_MAX {
            // A base that the log does not explain is the workspace.
            let Some(next) = base.filter(|_| !path.starts_with('/')).and_then(|b| self.ids.get(b))
            else {
                return self
                    .inside(&path)
                    .ok_or_else(|| format!("{uri:?} is not in the workspace"));
            };
            if let Some(above) = &next.uri {
                let above = self::path(above)?;
                let slash = if above.is_empty() || above.ends_with('/') { "" } else { "/" };
                path = format!("{above}{slash}{path}");
            }
            base = next.uri_base_id.as_deref();
        }
        Err(format!("{uri:?} stands on more than {BASES_MAX} bases"))
    }

    /// A path without detours, relative to the workspace; `None` for one that leads out of it.
    fn inside(&self, path: &str) -> Option<String> {
        let parts = parts(path)?;
        let relative = if path.starts_with('/') {
            parts.strip_prefix(self::parts(self.root)?.as_slice())?
        } else {
            parts.as_slice()
        };
        (!relative.is_empty()).then(|| relative.join("/"))
    }
}

/// The names of a path; `None` for one that goes above its beginning.
fn parts(path: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts)
}

/// The path that a reference names: relative, or from the root of this machine.
fn path(uri: &str) -> Result<String, String> {
    let elsewhere = || format!("{uri:?} is no file of this machine");
    let bare = uri.split(['?', '#']).next().unwrap_or_default();
    let scheme = bare.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    });
    let rest = match scheme {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => rest,
        Some(_) => return Err(elsewhere()),
        None => bare,
    };
    let rest = match rest.strip_prefix("//") {
        None => rest,
        Some(there) => match there.find('/') {
            Some(at) if matches!(&there[..at], "" | "localhost") => &there[at..],
            _ => return Err(elsewhere()),
        },
    };
    let path = decoded(rest).ok_or_else(|| format!("{uri:?} is not encoded as a URI"))?;
    if path.contains('\0') { Err(elsewhere()) } else { Ok(path) }
}

/// Text without percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |i: usize| char::from(*tail.get(i)?).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}
