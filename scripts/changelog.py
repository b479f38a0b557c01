#!/usr/bin/env python3
"""Moves what is unreleased in CHANGELOG.md under a version.

usage: changelog.py VERSION COMMITS       COMMITS is a file with the list of commits
       changelog.py --show VERSION        prints a version's section

A candidate takes the unreleased notes with it; its
final release takes the notes of all its candidates, so that a reader of a release finds all of it
in one place.
"""
import datetime
import os
import pathlib
import re
import sys

PATH = pathlib.Path(__file__).resolve().parent.parent / "CHANGELOG.md"
UNRELEASED = "## Unreleased"


def sections(text):
    """The head of the file, and its sections as (title line, body)."""
    parts = re.split(r"(?m)^(## .*)$", text)
    return parts[0], list(zip(parts[1::2], (body.strip("\n") for body in parts[2::2])))


def version_of(title):
    """The version that a title names; empty when it names none."""
    found = re.match(r"## (\S+) \(", title)
    return found.group(1) if found else ""


def release(text, version, commits, date):
    """The file with a section of that version on top."""
    head, all_sections = sections(text)
    notes = next((body for title, body in all_sections if title == UNRELEASED), "")
    rest = [s for s in all_sections if s[0] != UNRELEASED]
    if "-rc" not in version:
        ours = [s for s in rest if version_of(s[0]).startswith(f"{version}-rc")]
        rest = [s for s in rest if s not in ours]
        written = [notes] + [body.split("\n### Commits\n")[0].strip("\n") for _, body in ours]
        listed = [commits] + [body.partition("\n### Commits\n")[2].strip("\n") for _, body in ours]
        notes = "\n".join(part for part in written if part)
        commits = "\n".join(part for part in listed if part)
    body = notes or "No notes."
    if commits:
        body += f"\n\n### Commits\n\n{commits}"
    made = [(UNRELEASED, ""), (f"## {version} ({date})", body), *rest]
    return head + "\n\n".join(f"{title}\n\n{body}".strip("\n") for title, body in made) + "\n"


def main():
    """See the module."""
    text = PATH.read_text(encoding="utf-8")
    if len(sys.argv) == 3 and sys.argv[1] == "--show":
        body = [b for t, b in sections(text)[1] if version_of(t) == sys.argv[2]]
        print(body[0] if body else sys.exit(f"changelog: no section of {sys.argv[2]}"))
    elif len(sys.argv) == 3:
        commits = pathlib.Path(sys.argv[2]).read_text(encoding="utf-8").strip("\n")
        date = os.environ.get("RELEASE_DATE") or datetime.date.today().isoformat()
        PATH.write_text(release(text, sys.argv[1], commits, date), encoding="utf-8")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
