//! `metabuilder plan --from`: a workflow as a `metabuilder.toml`.

use crate::display::print;
use crate::error::{Error, Exit, Result};
use crate::workflow::{self, WORKFLOW_BYTES_MAX};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Prints the imported file.
pub fn run(path: &Path) -> Result<Exit> {
    let shown = path.display();
    let unread = |e: std::io::Error| Error::usage(format!("{shown} cannot be read"), e);
    let mut text = String::new();
    let most = WORKFLOW_BYTES_MAX as u64 + 1;
    File::open(path).map_err(unread)?.take(most).read_to_string(&mut text).map_err(unread)?;
    if text.len() > WORKFLOW_BYTES_MAX {
        let why = format!("it has more than {WORKFLOW_BYTES_MAX} bytes");
        return Err(Error::usage(format!("{shown} is no workflow"), why));
    }
    let file = workflow::import(&text, &shown.to_string())
        .map_err(|why| Error::usage(format!("{shown} cannot be imported"), why))?;
    // what is printed is a file that would be taken
    if let Err(faults) = meta_domain::project::parse(&file) {
        let faults = faults.iter().map(ToString::to_string).collect();
        return Err(Error::several("the imported steps are no plan", faults));
    }
    print(file.trim_end())?;
    Ok(Exit::Done)
}
