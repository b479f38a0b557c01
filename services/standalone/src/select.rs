//! Finds what a part of an id means. Ids start with the time, so people paste their ends as well.

use crate::error::{Error, Result};

/// Characters of a part of an id at least.
const PART_CHARS_MIN: usize = 4;

/// The one id that starts or ends with `part`. `what` and `list` are for the messages.
pub fn pick<'a>(
    what: &str,
    list: &str,
    part: &str,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<&'a str> {
    let wanted = part.trim().trim_matches('…').to_ascii_lowercase();
    let unknown =
        |why: String| Error::usage(format!("no {what} {part:?}"), why).next(format!("see {list}"));
    if wanted.chars().count() < PART_CHARS_MIN {
        return Err(unknown(format!("expected at least {PART_CHARS_MIN} characters of its id")));
    }
    let mut found: Vec<&str> = Vec::new();
    for id in ids {
        let fits = id.starts_with(&wanted) || id.ends_with(&wanted);
        if fits && !found.contains(&id) {
            found.push(id);
        }
    }
    match found.as_slice() {
        [] => Err(unknown("nothing has an id that starts or ends so".to_owned())),
        [only] => Ok(only),
        many => Err(unknown(format!("{} have an id that starts or ends so", many.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 2] =
        ["0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f", "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d9999"];

    #[test]
    fn a_unique_start_or_end_is_enough() {
        assert_eq!(pick("run", "runs", "4E5f", IDS).unwrap(), IDS[0]);
        assert_eq!(pick("run", "runs", IDS[1], IDS).unwrap(), IDS[1]);
        assert_eq!(pick("run", "runs", "0197", [IDS[0], IDS[0]]).unwrap(), IDS[0]);
    }

    #[test]
    fn several_none_or_too_little_is_bad_input() {
        for (part, why) in [("0197", "2 have"), ("beef", "nothing"), ("5f", "at least 4")] {
            let error = pick("run", "metabuilder runs ls", part, IDS).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.exit, crate::error::Exit::Usage);
        }
    }
}
