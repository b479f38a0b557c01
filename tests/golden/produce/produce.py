#!/usr/bin/env python3
"""Runs real tools on the small projects beside this file and keeps what they print.

usage: produce.py [--only WORD] [--keep] PATH ...

PATH are folders with tools that go before the usual ones. Writes ../logs/ID.log and ../manifest.tsv. A case whose tool is
missing, or that ends unlike it should (a green one failed, a broken one passed), is reported and left as it was.
Paths, users, hosts and ports of this machine are replaced. With --only just the cases whose id has the word.
"""

import csv
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import cases_green
import cases_native
import cases_python
import cases_system
import cases_web
import ci
import server

GOLDEN = Path(__file__).resolve().parent.parent
SECONDS_MAX = 90
LOG_BYTES_MAX = 60_000
COLUMNS = ["id", "expected_type", "alt", "tool", "exit_code", "note"]


def environment(paths, port, home):
    keep = {name: os.environ[name] for name in ("LANG", "PYENV_ROOT", "JAVA_HOME", "RUSTUP_HOME") if name in os.environ}
    real = Path.home()
    return {
        **keep, "PATH": ":".join([*paths, os.environ["PATH"]]), "HOME": str(home), "SERVER": f"http://127.0.0.1:{port}", "PORT": str(port),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(real / ".rustup")), "CARGO_HOME": os.environ.get("CARGO_HOME", str(real / ".cargo")),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "NPM_CONFIG_UPDATE_NOTIFIER": "false", "CI": "true", "GOFLAGS": "-buildvcs=false", "GOCACHE": "/tmp/golden-gocache",
        "CARGO_TARGET_DIR": "target", "TF_CLI_CONFIG_FILE": "/dev/null", "CHECKPOINT_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1", "AWS_EC2_METADATA_DISABLED": "true",
        "NODE_TOOLS": next((p.rsplit("/node_modules", 1)[0] for p in paths if "node_modules" in p), ""), "NO_UPDATE_NOTIFIER": "1", "COLUMNS": "100",
    }


def clean(text, folder, paths, port, home):
    text = text.replace(str(folder), "/builds/demo").replace(os.path.realpath(folder), "/builds/demo")
    for path in sorted(paths, key=len, reverse=True):
        root = re.sub(r"/(node_modules/\.bin|bin)$", "", path)
        text = text.replace(root, "/opt/tools")
    text = text.replace(str(home), "/home/builder").replace(str(Path.home()), "/home/builder")
    text = re.sub(r"/tmp/[\w.-]+", "/tmp/work", text)
    text = text.replace(f":{port}", ":8080").replace(f"port {port}", "port 8080")
    text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "build-host", text)
    if getpass.getuser() != "root":
        text = re.sub(rf"\b{re.escape(getpass.getuser())}\b", "builder", text)
    text = re.sub(r"\b(registry|www)\.npm\w+\.(org|com)", r"\1.example.org", text)
    return re.sub(r"\bfolder-\w+", "demo", text)


def run(command, folder, env):
    try:
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX)
        return done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        return None, "took too long"


def produce(case, paths, port):
    root = Path(tempfile.mkdtemp(prefix="golden-"))
    folder, home = root / "demo", root / "home"
    folder.mkdir()
    home.mkdir()
    env = environment(paths, port, home)
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = run(case.before, folder, env)[1] if case.before else ""
    code, output = run(case.command, folder, env)
    if code is not None and case.ci:
        output = ci.wrap(case.ci, before, case.command, output if output.endswith("\n") else output + "\n", code, lambda c: run(c, folder, env)[1])
    output = clean(output, folder, paths, port, home)
    shutil.rmtree(root, ignore_errors=True)
    return code, output


def main():
    args = sys.argv[1:]
    only = ""
    if args[:1] == ["--only"]:
        only, args = args[1], args[2:]
    cases = cases_python.CASES + cases_web.CASES + cases_native.CASES + cases_system.CASES + cases_green.fill(cases_green.CASES)
    assert len({case.id for case in cases}) == len(cases)
    manifest = GOLDEN / "manifest.tsv"
    rows = {}
    if manifest.exists():
        rows = {row["id"]: row for row in csv.DictReader(manifest.open(), delimiter="\t", quoting=csv.QUOTE_NONE)}
    known = {case.id for case in cases}
    for gone in [key for key in rows if key not in known]:
        del rows[gone]
        (GOLDEN / "logs" / f"{gone}.log").unlink(missing_ok=True)
    port = server.start()
    (GOLDEN / "logs").mkdir(exist_ok=True)
    odd = 0
    for case in cases:
        if only not in case.id:
            continue
        code, output = produce(case, args, port)
        green = case.note.startswith("benign")
        missing = code == 127 and case.id != "bash-not-found"
        if code is None or missing or green != (code == 0) or (output.strip() == "" and case.type != "unknown"):
            odd += 1
            print(f"left out: {case.id} (exit {code}): {output.strip()[-200:]!r}")
            continue
        (GOLDEN / "logs" / f"{case.id}.log").write_text(output[:LOG_BYTES_MAX])
        rows[case.id] = dict(zip(COLUMNS, [case.id, case.type, case.alt, case.tool, str(code), case.note]))
    with manifest.open("w") as file:
        file.write("\t".join(COLUMNS) + "\n")
        for key in sorted(rows):
            file.write("\t".join(rows[key][column] for column in COLUMNS) + "\n")
    print(f"{len(rows)} logs, {odd} left out")


if __name__ == "__main__":
    main()
