#!/usr/bin/env python3
"""Writes a version everywhere it stands, or with --check says where it does not stand.

usage: set-version.py VERSION | --check | --print

A place that is not found is an error: a release does not go out half renamed.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERSION = r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.]+)?"

# file, and a pattern whose group is the version
PLACES = [
    ("Cargo.toml", rf'(?m)^\[workspace\.package\]\nversion = "({VERSION})"'),
    ("tests/golden/openapi.json", rf'"version": "({VERSION})"'),
    ("deploy/helm/metabuilder/Chart.yaml", rf"(?m)^version: ({VERSION})$"),
    ("deploy/helm/metabuilder/Chart.yaml", rf'(?m)^appVersion: "({VERSION})"$'),
    ("deploy/compose.yaml", rf"METABUILDER_VERSION:-({VERSION})\}}"),
]


def places():
    """Every place with its file, text, and where in it the version stands."""
    for name, pattern in PLACES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        found = [m.span(1) for m in re.finditer(pattern, text)]
        if not found:
            sys.exit(f"set-version: {name} names no version (expected {pattern})")
        yield path, text, found


def locked(version, old):
    """The lock file with the workspace's own crates, which have no source, at that version."""
    path = ROOT / "Cargo.lock"
    blocks = path.read_text(encoding="utf-8").split("\n\n")
    own = [i for i, b in enumerate(blocks) if b.lstrip().startswith("[[package]]")
           and "\nsource = " not in b and f'\nversion = "{old}"' in b]
    if not own:
        sys.exit(f"set-version: Cargo.lock has no crate of ours at {old}")
    for i in own:
        blocks[i] = blocks[i].replace(f'\nversion = "{old}"', f'\nversion = "{version}"')
    return path, "\n\n".join(blocks)


def current():
    """The workspace's version."""
    _, text, found = next(places())
    return text[slice(*found[0])]


def main():
    """See the module."""
    asked = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    old = current()
    if asked == "--print":
        print(old)
        return
    if asked == "--check":
        wrong = [f"{path.relative_to(ROOT)}: {text[a:b]}"
                 for path, text, found in places() for a, b in found if text[a:b] != old]
        if wrong:
            sys.exit(f"set-version: Cargo.toml says {old}, but " + ", ".join(wrong))
        return
    if not re.fullmatch(VERSION, asked):
        sys.exit(f"set-version: {asked} is no version (expected X.Y.Z or X.Y.Z-rcN)")
    path, lock = locked(asked, old)
    path.write_text(lock, encoding="utf-8")
    for name, pattern in PLACES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        for match in reversed(list(re.finditer(pattern, text))):
            start, end = match.span(1)
            text = text[:start] + asked + text[end:]
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
