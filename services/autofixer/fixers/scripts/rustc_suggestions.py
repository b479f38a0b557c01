"""Applies what rustc and clippy suggest without being sure, one suggestion at a time, and keeps
those that leave fewer errors, or that answer the error and let the compiler come to a later one.
Where two suggestions of one diagnostic help equally, neither is
taken: choosing is a human's part. usage: rustc_suggestions.py CARGO CHECK --message-format=json"""
import json
import os
import subprocess
import sys
import time

TRIALS_MAX = 60
SECONDS_MAX = 480
USABLE = {"MachineApplicable": 0, "MaybeIncorrect": 1, "Unspecified": 2}


def check(command):
    """Diagnostics of a run, and how many of them are errors."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    seen, diagnostics = set(), []
    for line in done.stdout.decode("utf8", "replace").splitlines():
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message.get("reason") != "compiler-message":
            continue
        diagnostic = message["message"]
        key = json.dumps([diagnostic["message"], [(s["file_name"], s["byte_start"]) for s in diagnostic["spans"]]])
        if key not in seen:
            seen.add(key)
            diagnostics.append(diagnostic)
    errors = [d for d in diagnostics if d["level"].startswith("error") and d["spans"]]
    return errors, done.returncode


def suggestions(diagnostic):
    """Groups of edits: each group is one way to answer the diagnostic."""
    groups = []
    for child in [diagnostic] + diagnostic.get("children", []):
        edits = [
            (USABLE[s["suggestion_applicability"]], s["file_name"], s["byte_start"], s["byte_end"], s["suggested_replacement"])
            for s in child["spans"]
            if s.get("suggested_replacement") is not None and s.get("suggestion_applicability") in USABLE
            and not os.path.isabs(s["file_name"])
        ]
        places = [e[1:4] for e in edits]
        if len(set(places)) < len(places):
            groups += [[e] for e in edits]
        elif edits:
            groups.append(edits)
    return sorted(groups, key=lambda g: max(e[0] for e in g))


def apply(edits):
    """Writes the edits; returns what the files held before, or None when they do not fit."""
    before = {}
    for _, name, start, end, text in sorted(edits, key=lambda e: (e[1], -e[2])):
        with open(name, "rb") as source:
            old = source.read()
        if end > len(old):
            restore(before)
            return None
        before.setdefault(name, old)
        with open(name, "wb") as source:
            source.write(old[:start] + text.encode() + old[end:])
    return before


def restore(before):
    for name, old in before.items():
        with open(name, "wb") as source:
            source.write(old)


def key(diagnostic):
    """What a diagnostic says, wherever the edits moved it to."""
    code = (diagnostic.get("code") or {}).get("code")
    texts = [t["text"] for s in diagnostic["spans"] if s["is_primary"] for t in s["text"]]
    return json.dumps([code, diagnostic["message"], texts])


def gain(diagnostic, before, after):
    """How good it is that `before` became `after`, smaller is better; None when it is no help. One
    error for another counts only when the compiler got on: the answered error is gone."""
    if len(after) < len(before):
        return len(after) - len(before)
    left = [key(d) for d in after]
    later = key(diagnostic) not in left and (len(before) == 1 or len(after) == len(before))
    return 1 + len(after) if later else None


def main(command):
    start, trials, kept = time.monotonic(), 0, 0
    errors, status = check(command)
    if status == 0 or not errors:
        return 3
    given_up = set()
    while errors and trials < TRIALS_MAX and time.monotonic() - start < SECONDS_MAX:
        pending = [d for d in errors if json.dumps(d["spans"]) not in given_up]
        if not pending:
            break
        diagnostic = pending[0]
        outcomes = []
        for edits in suggestions(diagnostic)[:6]:
            before = apply(edits)
            if before is None:
                continue
            trials += 1
            after, _ = check(command)
            worth = gain(diagnostic, errors, after)
            if worth is not None:
                outcomes.append((worth, edits, after))
            restore(before)
            if len(after) == 0 and edits[0][0] == 0:
                break
        outcomes.sort(key=lambda o: o[0])
        texts = {json.dumps([e[1:] for e in o[1]]) for o in outcomes if o[0] == outcomes[0][0]}
        if len(texts) == 1:
            apply(outcomes[0][1])
            errors = outcomes[0][2]
            kept += 1
        else:
            given_up.add(json.dumps(diagnostic["spans"]))
            if len(texts) > 1:
                print(f"{len(texts)} suggestions help equally: {diagnostic['message'][:200]}")
    print(f"kept {kept} suggestions after {trials} trials, {len(errors)} errors left")
    return 0 if kept else 4 if trials else 3


sys.exit(main(sys.argv[1:]))
