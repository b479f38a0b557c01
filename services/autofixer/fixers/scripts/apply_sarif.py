"""Applies the fixes of a SARIF 2.1.0 file to the workspace.

Of each result the first fix is taken. Replacements of a file are applied from its end to its beginning; of two that overlap the later result
is left out whole, since its fix no longer fits. A fix that names a file outside the workspace, or none, is left out. Exit 0: something was
changed; 3: there was nothing to do; 4: there were fixes and none could be applied.
"""

import json
import os
import sys
import urllib.parse


def path_of(location, bases):
    """The workspace's path of an artifact, or None."""
    uri = location.get("uri", "")
    base = bases.get(location.get("uriBaseId", ""), {}).get("uri", "")
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    path = urllib.parse.unquote(parts.path)
    root = os.path.realpath(os.environ.get("WORKTREE", "."))
    if not os.path.isabs(path) and base.startswith("file:"):
        path = os.path.join(urllib.parse.unquote(urllib.parse.urlsplit(base).path), path)
    full = os.path.normpath(os.path.join(root, path))
    inside = full.startswith(root + os.sep) and os.path.realpath(full) == full
    return full if inside and os.path.isfile(full) else None


class Source:
    """A file with what is to be replaced in it."""

    def __init__(self, path):
        with open(path, encoding="utf-8", newline="") as file:
            self.text = file.read()
        self.starts = [0]
        for index, char in enumerate(self.text):
            if char == "\n":
                self.starts.append(index + 1)
        self.edits = []

    def offset(self, line, column):
        """The place of a line and a column (UTF-16 units), both from 1."""
        start = self.starts[line - 1]
        end = self.starts[line] if line < len(self.starts) else len(self.text)
        units = 0
        for index in range(start, end):
            if units >= column - 1:
                return index
            units += 2 if ord(self.text[index]) > 0xFFFF else 1
        if units < column - 1:
            raise ValueError("the column is behind the line's end")
        return end

    def span(self, region):
        """Beginning and end of a region."""
        if "startLine" in region:
            line = region["startLine"]
            begin = self.offset(line, region.get("startColumn", 1))
            last = region.get("endLine", line)
            if "endColumn" in region:
                return begin, self.offset(last, region["endColumn"])
            end = self.starts[last] if last < len(self.starts) else len(self.text)
            if self.text[:end].endswith("\n"):
                end -= 1
            return begin, max(begin, end)
        begin = region["charOffset"]
        return begin, begin + region.get("charLength", 0)

    def free(self, begin, end):
        """Whether nothing else is replaced there; two insertions at one place are too many."""
        apart = all((end <= b or begin >= e) and (begin, end) != (b, e) for b, e, _ in self.edits)
        return apart and 0 <= begin <= end <= len(self.text)


def planned(fix, bases, sources):
    """The replacements of one fix, or None when it does not fit."""
    found = []
    for change in fix.get("artifactChanges", []):
        path = path_of(change.get("artifactLocation", {}), bases)
        if path is None:
            return None
        source = sources.setdefault(path, Source(path))
        for replacement in change.get("replacements", []):
            begin, end = source.span(replacement["deletedRegion"])
            if not source.free(begin, end):
                return None
            found.append((source, (begin, end, replacement.get("insertedContent", {}).get("text", ""))))
    return found


def main(name):
    if not os.path.isfile(name):
        return 3
    with open(name, encoding="utf-8-sig") as file:
        log = json.load(file)
    sources, seen, applied = {}, 0, 0
    for run in log.get("runs", []):
        bases = run.get("originalUriBaseIds", {})
        for result in run.get("results", []):
            fixes = result.get("fixes") or []
            if not fixes or result.get("suppressions"):
                continue
            seen += 1
            try:
                edits = planned(fixes[0], bases, sources)
            except (KeyError, IndexError, ValueError, TypeError, UnicodeDecodeError):
                edits = None
            for source, edit in edits or []:
                source.edits.append(edit)
            applied += bool(edits)
    for path, source in sources.items():
        text = source.text
        for begin, end, new in sorted(source.edits, reverse=True):
            text = text[:begin] + new + text[end:]
        if text != source.text:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)
    print(f"{applied} of {seen} fixes were applied")
    return 0 if applied else 3 if seen == 0 else 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
