//! Reading what scripts print of files and differences.

use super::split_list;

/// A file that a script shows: its name and its bytes.
pub type Shown = (String, Vec<u8>);

/// Reads what `SHOW` printed.
pub fn split_shown(mut bytes: &[u8]) -> Vec<Shown> {
    let mut files = Vec::new();
    while let Some((file, rest)) = next_shown(bytes) {
        files.push(file);
        bytes = rest;
    }
    files
}

fn next_shown(bytes: &[u8]) -> Option<(Shown, &[u8])> {
    let name_end = bytes.iter().position(|b| *b == 0)?;
    let (size, rest) = line(&bytes[name_end + 1..])?;
    let size: usize = size.trim().parse().ok()?;
    let body = rest.get(..size)?.to_vec();
    let name = String::from_utf8(bytes[..name_end].to_vec()).ok()?;
    Some(((name, body), &rest[size..]))
}

/// A file that a difference touches, as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Its path.
    pub path: String,
    /// Its object.
    pub object: String,
}

/// Splits a raw list (`git diff --raw -z`) from the patch behind it. Of the list, those that were
/// regular files are answered.
pub fn split_difference(bytes: &[u8]) -> (Vec<Touched>, &[u8]) {
    let (list, patch) = split_list(bytes);
    let touched = list.chunks_exact(2).filter_map(|entry| {
        let mut words = entry[0].strip_prefix(':')?.split(' ');
        let (mode, object) = (words.next()?, words.nth(1)?);
        let regular = matches!(mode, "100644" | "100755");
        regular.then(|| Touched { path: entry[1].clone(), object: object.to_owned() })
    });
    (touched.collect(), patch)
}

/// Reads what `git cat-file --batch` printed of the files' objects; those that it left out are no
/// part of the answer.
pub fn split_objects(mut bytes: &[u8], touched: Vec<Touched>) -> Vec<Shown> {
    let mut files = Vec::new();
    let mut wanted = touched.into_iter();
    while let Some((head, rest)) = line(bytes) {
        let mut words = head.split(' ');
        let (object, size) = (words.next(), words.nth(1).and_then(|s| s.parse().ok()));
        let (Some(object), Some(size)) = (object, size) else { break };
        let Some(body) = rest.get(..size) else { break };
        let Some(file) = wanted.find(|file| file.object == object) else { break };
        files.push((file.path, body.to_vec()));
        bytes = rest.get(size + 1..).unwrap_or_default();
    }
    files
}

/// The first line, and what follows it.
fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_files_are_read_back_whole() {
        let files = split_shown(b"a b\x003\nx\0yc/d\x000\ne\x0099\ntorn");
        assert_eq!(files, [("a b".to_owned(), b"x\0y".to_vec()), ("c/d".to_owned(), Vec::new())]);
    }

    #[test]
    fn a_difference_is_told_apart_from_its_list() {
        let bytes = b":100644 100644 aa bb M\0a b\0:000000 100644 00 cc A\0new\0\
                      :120000 000000 dd 00 D\0link\0:100755 000000 ee 00 D\0gone\0\0diff --git x";
        let (touched, patch) = split_difference(bytes);
        let of = |path: &str, object: &str| Touched { path: path.into(), object: object.into() };
        assert_eq!(touched, [of("a b", "aa"), of("gone", "ee")]);
        assert_eq!(patch, b"diff --git x");
        assert_eq!(split_difference(b""), (Vec::new(), [].as_slice()));
    }

    #[test]
    fn objects_are_given_their_names_again() {
        let of = |path: &str, object: &str| Touched { path: path.into(), object: object.into() };
        let touched = vec![of("large", "aa"), of("x", "bb"), of("y", "bb")];
        let bytes = b"bb blob 3\n1\n2\nbb blob 3\n1\n2\n";
        let files = split_objects(bytes, touched);
        assert_eq!(files, [("x".into(), b"1\n2".to_vec()), ("y".into(), b"1\n2".to_vec())]);
    }
}
