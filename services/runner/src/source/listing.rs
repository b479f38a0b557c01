//! What a planner needs to know of a source.

use crate::nofollow;
use ignore::WalkBuilder;
use meta_domain::source::SourceListing;
use std::collections::BTreeMap;
use std::path::Path;

/// Files of a source or workspace that are named at most.
pub const FILES_MAX: usize = 20_000;
/// Bytes of one manifest.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024;
/// Bytes of a project's own settings.
const PROJECT_FILE: &str = "metabuilder.toml";
/// Manifests are read in the top folder and this many folders below.
const MANIFEST_DEPTH: usize = 2;
/// Files whose text a planner reads.
const MANIFESTS: &[&str] = &[
    PROJECT_FILE,
    "Cargo.toml",
    "package.json",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "tox.ini",
    "noxfile.py",
    "Pipfile",
    "go.mod",
    "go.work",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "tsconfig.json",
    "pytest.ini",
    "ruff.toml",
    ".ruff.toml",
    ".flake8",
    ".pylintrc",
    "mypy.ini",
    ".mypy.ini",
    ".isort.cfg",
    ".golangci.yml",
    ".golangci.yaml",
    "biome.json",
    "alembic.ini",
    "manage.py",
    ".pre-commit-config.yaml",
    ".sqlfluff",
    "rust-toolchain.toml",
    "rustfmt.toml",
    ".rustfmt.toml",
    "clippy.toml",
    ".clippy.toml",
    ".shellcheckrc",
];
/// Beginnings of the names of such files.
const MANIFEST_PREFIXES: &[&str] = &[
    "requirements",
    ".eslintrc",
    "eslint.config.",
    ".prettierrc",
    "prettier.config.",
    "vitest.config.",
    "jest.config.",
];

/// Lists a folder without what its `.gitignore` files leave out.
pub fn list_tree(root: &Path) -> SourceListing {
    let mut listing = SourceListing::default();
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .parents(false)
        .ignore(false)
        .git_global(false)
        .git_exclude(false)
        .require_git(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    for entry in walk.flatten() {
        let folder = entry.file_type().is_none_or(|t| t.is_dir());
        let Ok(relative) = entry.path().strip_prefix(root) else { continue };
        if folder || relative.as_os_str().is_empty() {
            continue;
        }
        if listing.files.len() == FILES_MAX {
            break;
        }
        let Some(name) = relative.to_str() else { continue };
        listing.files.push(name.to_owned());
        if is_manifest(relative) {
            add_manifest(&mut listing.manifests, root, relative);
        }
    }
    if root.join(PROJECT_FILE).is_file() {
        add_manifest(&mut listing.manifests, root, Path::new(PROJECT_FILE));
    }
    listing.files.sort();
    listing
}

/// Lists files that a spec brings itself.
pub fn list_inline(files: &BTreeMap<String, String>) -> SourceListing {
    SourceListing {
        files: files.keys().take(FILES_MAX).cloned().collect(),
        manifests: files
            .iter()
            .filter(|(path, _)| is_manifest(Path::new(path)))
            .map(|(path, text)| (path.clone(), text.clone()))
            .collect(),
    }
}

fn is_manifest(relative: &Path) -> bool {
    let Some(name) = relative.file_name().and_then(|n| n.to_str()) else { return false };
    relative.components().count() <= MANIFEST_DEPTH
        && (MANIFESTS.contains(&name) || MANIFEST_PREFIXES.iter().any(|p| name.starts_with(p)))
}

fn add_manifest(manifests: &mut BTreeMap<String, String>, root: &Path, relative: &Path) {
    let Some(name) = relative.to_str() else { return };
    if let Some(bytes) = nofollow::read_file(&root.join(relative), MANIFEST_BYTES_MAX) {
        manifests.insert(name.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_left_out_but_the_project_file_counts() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".gitignore", "/out\nmetabuilder.toml\n"),
            ("metabuilder.toml", "[[step]]\n"),
            ("out/big", "x"),
            ("src/a.py", ""),
            ("api/package.json", "{}"),
            ("a/b/package.json", "{}"),
            (".git/config", ""),
        ] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let listing = list_tree(root.path());
        let expected = [".gitignore", "a/b/package.json", "api/package.json", "src/a.py"];
        assert_eq!(listing.files, expected);
        let manifests: Vec<&str> = listing.manifests.keys().map(String::as_str).collect();
        assert_eq!(manifests, ["api/package.json", "metabuilder.toml"]);
    }
}
