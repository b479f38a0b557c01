//! The head of a git bundle, as another runner wrote it: what it holds and what it builds on.
//!
//! A bundle is data of the run's tenant and believed in nothing: what is read here only says which
//! bundle to look for next. Whether it is what it says, git finds out behind the wall.

/// Bytes of a bundle that are looked at.
pub const HEADER_BYTES_MAX: usize = 4096;

/// What a bundle says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The commit it brings.
    pub head: String,
    /// The commit that has to be there before; `None` when it brings everything.
    pub after: Option<String>,
}

/// Reads the first lines of a bundle.
///
/// # Errors
/// Says what they are instead.
pub fn header(bytes: &[u8]) -> Result<Header, String> {
    let end = bytes.windows(2).position(|two| two == b"\n\n").ok_or("its head has no end")?;
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "its head is not text")?;
    let mut lines = text.lines();
    match lines.next() {
        Some("# v2 git bundle" | "# v3 git bundle") => {}
        _ => return Err("it is no git bundle".to_owned()),
    }
    let (mut head, mut after) = (None, None);
    for line in lines.filter(|line| !line.starts_with('@')) {
        let (found, commit) = match line.strip_prefix('-') {
            Some(rest) => (&mut after, rest.split(' ').next().unwrap_or_default()),
            None => (&mut head, line.split(' ').next().unwrap_or_default()),
        };
        if !is_commit(commit) {
            return Err(format!("it names {commit:?} (expected a commit)"));
        }
        if found.replace(commit.to_owned()).is_some() {
            return Err("it names several commits (expected one after another)".to_owned());
        }
    }
    Ok(Header { head: head.ok_or("it holds no commit")?, after })
}

/// Whether this is the name of a commit in full.
pub fn is_commit(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    matches!(text.len(), 40 | 64) && text.bytes().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_bundle_says_what_it_brings_and_what_it_needs() {
        let whole = format!("# v2 git bundle\n{A} refs/heads/metabuilder\n\nPACK\0\n\n");
        let expected = Header { head: A.to_owned(), after: None };
        assert_eq!(header(whole.as_bytes()), Ok(expected));
        let later =
            format!("# v3 git bundle\n@object-format=sha1\n-{B} base\n{A} refs/heads/x\n\nPACK");
        let expected = Header { head: A.to_owned(), after: Some(B.to_owned()) };
        assert_eq!(header(later.as_bytes()), Ok(expected));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for (text, why) in [
            (String::new(), "no end"),
            ("PACK\n\n".to_owned(), "no git bundle"),
            ("# v2 git bundle\n\n".to_owned(), "no commit"),
            (format!("# v2 git bundle\n-{A}\n\n"), "no commit"),
            ("# v2 git bundle\n../../etc/passwd x\n\n".to_owned(), "../../etc/passwd"),
            (format!("# v2 git bundle\n-{A}\n-{B}\n{A} x\n\n"), "several"),
        ] {
            let said = header(text.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        assert!(header(b"# v2 git bundle\n\xff\xfe\n\n").is_err());
    }
}
