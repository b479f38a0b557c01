//! Records as bytes.

use super::LOG_BYTES_MAX;
use meta_domain::time::Timestamp;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the runner read it.
    pub at: Timestamp,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// The output, secrets masked.
    pub text: Vec<u8>,
}

/// What was read of a log.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) records: Vec<Record>,
    /// Bytes of whole records.
    pub(super) bytes: usize,
    /// The writer's offset after the last record.
    pub(super) end: u64,
}

/// Records to be written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    /// Bytes of text of the call that are in the log now.
    pub(super) kept: u64,
    /// The writer's offset after the last record.
    pub(super) end: u64,
}

/// The bytes of those records that are not in the log yet: it ends at `end` of its writer's text and
/// holds `held` bytes. What does not fit is left out.
pub(super) fn write(records: &[Record], offset: Option<u64>, end: u64, held: u64) -> Written {
    let mut written = Written { end, ..Written::default() };
    let mut at = offset.unwrap_or(end);
    for record in records {
        let len = record.text.len() as u64;
        let known = end.saturating_sub(at).min(len);
        let text = record.text.get(usize::try_from(known).unwrap_or(0)..).unwrap_or_default();
        if text.is_empty() {
            at += len;
            written.kept += len;
            continue;
        }
        if held + (written.bytes.len() + text.len()) as u64 > LOG_BYTES_MAX {
            break;
        }
        let stream = if record.stderr { 'e' } else { 'o' };
        let header = format!("{} {stream} {} {}\n", record.at.0, text.len(), at + known);
        written.bytes.extend_from_slice(header.as_bytes());
        written.bytes.extend_from_slice(text);
        written.bytes.push(b'\n');
        written.kept += len;
        at += len;
        written.end = at;
    }
    written
}

/// The whole records at the start of `bytes`; `from` is the writer's offset before them, where they
/// do not say it themselves.
pub(super) fn parse(bytes: &[u8], from: u64) -> Parsed {
    let mut parsed = Parsed { end: from, ..Parsed::default() };
    while let Some((record, offset, len)) = next(&bytes[parsed.bytes..]) {
        parsed.end = offset.unwrap_or(parsed.end) + record.text.len() as u64;
        parsed.bytes += len;
        parsed.records.push(record);
    }
    parsed
}

fn next(bytes: &[u8]) -> Option<(Record, Option<u64>, usize)> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let header = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = header.split(' ');
    let at = Timestamp(words.next()?.parse().ok()?);
    let stderr = words.next()? == "e";
    let len: usize = words.next()?.parse().ok()?;
    let offset = words.next().and_then(|word| word.parse().ok());
    let text = bytes.get(end + 1..end + 1 + len)?.to_vec();
    (bytes.get(end + 1 + len) == Some(&b'\n')).then_some(())?;
    Some((Record { at, stderr, text }, offset, end + len + 2))
}
