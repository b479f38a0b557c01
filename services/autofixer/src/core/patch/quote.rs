//! File names as git prints them.

/// The names of a `diff --git` line without `a/` and `b/`, which must agree with `rename` or `copy`
/// lines. Without those, both names must be the same, which is also how git finds the border between
/// names with blanks.
pub(super) fn header_names(
    header: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Option<(String, String)> {
    if let (Some(from), Some(to)) = (from, to) {
        let fits = borders(header).any(|(a, b)| {
            name(a, "a/").as_deref() == Some(from) && name(b, "b/").as_deref() == Some(to)
        });
        return fits.then(|| (from.to_owned(), to.to_owned()));
    }
    let mut same = borders(header).filter_map(|(a, b)| {
        let (a, b) = (name(a, "a/")?, name(b, "b/")?);
        (a == b).then_some(a)
    });
    let only = same.next()?;
    same.next().is_none().then(|| (only.clone(), only))
}

/// All ways to split the line into two names.
fn borders(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.match_indices(' ').map(|(at, _)| (&header[..at], &header[at + 1..]))
}

fn name(text: &str, prefix: &str) -> Option<String> {
    unquote(text)?.strip_prefix(prefix).filter(|n| !n.is_empty()).map(str::to_owned)
}

/// A name without git's C-style quotes; `None` when the quoting is not git's.
pub(super) fn unquote(text: &str) -> Option<String> {
    let Some(inner) = text.strip_prefix('"') else {
        return (!text.contains('"')).then(|| text.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut bytes = Vec::new();
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return None,
            b'\\' => bytes.push(escaped(&mut rest)?),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let byte = rest.next()?;
    Some(match byte {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        b'"' | b'\\' => byte,
        b'0'..=b'3' => {
            let mut value = byte - b'0';
            for _ in 0..2 {
                let digit = rest.next().filter(|d| (b'0'..=b'7').contains(d))?;
                value = value * 8 + (digit - b'0');
            }
            value
        }
        _ => return None,
    })
}
