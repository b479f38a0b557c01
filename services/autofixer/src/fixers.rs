//! Reads fixer files: the product's own and a user's folder.

use crate::core::registry::Registry;
use meta_domain::fault::InvalidField;
use std::path::Path;

/// The fixers of the product and, when a folder is given, of every `*.toml` in it.
///
/// # Errors
/// Every fault of every file: a fixer that silently does not apply is worse than a service that does
/// not start.
pub fn load(folder: Option<&Path>) -> Result<Registry, Vec<InvalidField>> {
    let Some(folder) = folder else { return Registry::builtin() };
    let fault = |path: &Path, error: std::io::Error| {
        vec![InvalidField::new("fixers_dir", format!("{}: {error}", path.display()))]
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| fault(folder, e))? {
        let path = entry.map_err(|e| fault(folder, e))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut own = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| fault(&path, e))?;
        own.push((path.display().to_string(), text));
    }
    let own: Vec<(&str, &str)> = own.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    Registry::with_own(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "[[fixer]]\nid = 'our_headers'\ntitle = 'our headers'\norder = 5\n\
        failure_types = ['lint']\ninvokes = ['headercheck']\nscript = 'headercheck --write \"$@\"'\n\
        safety = 'safe'\ncommand = 'headercheck'\n\
        [[fixer.example]]\ncommand = 'headercheck src'\ntype = 'lint'\nclaims = true\n\
        [[fixer.example]]\ncommand = 'ruff check'\ntype = 'lint'\nclaims = false\n";

    #[test]
    fn a_users_fixers_join_the_products() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ours.toml"), OWN).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no fixer").unwrap();
        let registry = load(Some(folder.path())).unwrap();
        assert!(registry.fixers().iter().any(|f| f.id == "our_headers"));
        assert_eq!(registry.fixers().len(), Registry::builtin().unwrap().fixers().len() + 1);
    }

    #[test]
    fn every_fault_of_a_users_fixer_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let bad =
            OWN.replace("claims = false", "claims = true").replace("our_headers", "ruff_check");
        std::fs::write(folder.path().join("ours.toml"), bad).unwrap();
        let faults = load(Some(folder.path())).unwrap_err();
        let text = format!("{faults:?}");
        assert!(
            text.contains("ours.toml") && text.contains("has none with claims = false"),
            "{text}"
        );
        assert!(load(Some(&folder.path().join("absent"))).is_err());
    }
}
