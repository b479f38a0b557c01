//! Applies the fixes that a fixer's SARIF log proposes. What they come to is decided by a pure
//! function over the log and the files; the fixer has ended before either is read.

use super::Job;
use super::heal::Copy;
use super::propose::{Verdict, write_edits};
use crate::core::protected::denied;
use crate::error::Error;
use crate::git::Room;
use crate::nofollow;
use meta_domain::autofix::TryVerdict;
use meta_domain::sarif::{Applied, Fixes, SARIF_BYTES_MAX};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where a fixer leaves its log, in its scratch folder.
const LOG_FILE: &str = "fixes.sarif";
/// Larger files are not changed, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Applies the log that a fixer left, if any; answers why not, when none of its fixes can be.
pub(super) async fn apply(
    job: &Job,
    room: &mut Room,
    copy: &Copy,
) -> Result<Option<Verdict>, Error> {
    let (log, workspace, root) =
        (copy.state.join(LOG_FILE), copy.workspace.clone(), copy.mount.clone());
    let work = move || decided(&log, &workspace, &root);
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|e| Error::failed(format!("reading the fixes failed: {e}")))?;
    let applied = match done {
        Ok(applied) => applied,
        Err(why) => return Ok(Some((TryVerdict::FixerError, why))),
    };
    tracing::debug!(applied = applied.applied, left_out = ?applied.left_out, "SARIF fixes");
    if let (0, Some(why)) = (applied.applied, applied.left_out.first()) {
        let all = applied.left_out.len();
        let detail = format!("none of its {all} fixes could be applied: {why}");
        return Ok(Some((TryVerdict::NoChange, detail)));
    }
    let edits = applied.edits.into_iter().map(Into::into).collect();
    write_edits(job, room, copy, edits).await
}

/// What the log's fixes make of the workspace's files; why not, when the log cannot be read.
fn decided(log: &Path, workspace: &Path, root: &Path) -> Result<Applied, String> {
    let read_max = u64::try_from(SARIF_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let Some(log) = nofollow::read_file(log, read_max) else { return Ok(Applied::default()) };
    let fixes = Fixes::read(&log, &root.to_string_lossy()).map_err(|e| e.to_string())?;
    let mut files = BTreeMap::new();
    for path in fixes.paths().into_iter().filter(|path| !denied(path)) {
        if let Some(text) = text_of(workspace, &PathBuf::from(path)) {
            files.insert(path.to_owned(), text);
        }
    }
    Ok(fixes.apply(&files))
}

/// A file's text; `None` for a link, and for what is no text or too large.
fn text_of(workspace: &Path, relative: &Path) -> Option<String> {
    let file = nofollow::open_file(workspace, relative)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES_MAX);
    String::from_utf8(bytes).ok().filter(|text| fits && !text.contains('\0'))
}
