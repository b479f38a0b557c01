"""Links crates that the code names and the project already has: a vendored crate, a member of the
workspace, or a crate that the lock file knows. Never invents a name. usage: cargo_add.py LOG"""
import os
import re
import subprocess
import sys

NAMED = re.compile(
    r"(?:unlinked crate|undeclared crate or module|cannot find module or crate|unresolved import|can't find crate for)"
    r" `(?:r#)?([A-Za-z_]\w*)"
)
PLACE = re.compile(r"--> ([^\s:]+\.rs):\d+")


def wanted(log):
    """Pairs of a crate's name in the code and the manifest of the package that names it."""
    pairs, name, manifest = [], None, None
    with open(log, errors="replace") as lines:
        for line in lines:
            line = line[:2000]
            if re.match(r"(error|warning)\b", line):
                name, manifest = None, None
            found = NAMED.search(line)
            place = PLACE.search(line)
            name = found.group(1) if found else name
            manifest = manifest_of(place.group(1)) if place else manifest
            if name and manifest and (name, manifest) not in pairs:
                pairs.append((name, manifest))
    return pairs


def manifest_of(source):
    folder = os.path.dirname(source)
    while True:
        path = os.path.join(folder, "Cargo.toml")
        if os.path.isfile(path):
            return path
        if not folder or folder == "/":
            return None
        folder = os.path.dirname(folder)


def package_name(manifest):
    with open(manifest, errors="replace") as text:
        found = re.search(r'(?ms)^\[package\].*?^name\s*=\s*"([^"]+)"', text.read())
    return found.group(1) if found else None


def at_hand():
    """Names of crates that can be linked without asking anybody: name -> folder of a member or None."""
    known = {}
    for folder, folders, files in os.walk("."):
        folders[:] = [f for f in folders if f not in (".git", "target", "node_modules")]
        if "Cargo.toml" not in files:
            continue
        name = package_name(os.path.join(folder, "Cargo.toml"))
        if name:
            vendored = ".cargo-checksum.json" in files
            known[name] = None if vendored else folder
    if os.path.isfile("Cargo.lock"):
        with open("Cargo.lock") as lock:
            for name in re.findall(r'(?m)^name = "([^"]+)"', lock.read()):
                known.setdefault(name, None)
    return known


def main(log):
    known = at_hand()
    added, unknown = 0, []
    for name, manifest in wanted(log):
        own = package_name(manifest)
        names = [n for n in known if n.replace("-", "_") == name and n != own]
        if len(names) != 1:
            unknown.append(name)
            continue
        command = ["cargo", "add", "--offline", "--manifest-path", manifest, names[0]]
        if known[names[0]]:
            command += ["--path", known[names[0]]]
        done = subprocess.run(command)
        added += done.returncode == 0
    if added:
        return 0
    if unknown:
        print("no vendored crate, workspace member or locked crate is called " + ", ".join(unknown))
        return 4
    return 3


sys.exit(main(sys.argv[1]))
