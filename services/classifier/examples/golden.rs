//! Compares the signals of our own labelled logs with those kept beside them; `--update` keeps
//! the present ones instead.

use classifier::core::{ClassifyInput, Rules, classify};
use classifier::labelled;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let update = std::env::args().any(|arg| arg == "--update");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let rules = Rules::embedded()?;
    let signals = dir.join("signals");
    std::fs::create_dir_all(&signals)?;
    let mut changed = 0;
    for log in labelled::read(&dir)? {
        let input = ClassifyInput { log: &log.log, ..ClassifyInput::default() };
        let text = serde_json::to_string_pretty(&classify(&rules, &input))? + "\n";
        let file = signals.join(format!("{}.json", log.id));
        if std::fs::read_to_string(&file).is_ok_and(|kept| kept == text) {
            continue;
        }
        changed += 1;
        println!("{}", log.id);
        if update {
            std::fs::write(file, text)?;
        }
    }
    println!("{changed} signals {}", if update { "written" } else { "differ" });
    Ok(())
}
