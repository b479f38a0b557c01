#!/usr/bin/env python3
"""Times what the auto-fix loop adds to a healed failure, beyond the tools' own time.

usage: bench-autofix.py --bin PATH/TO/metabuilder [--heals N] [--builds N] [--json FILE]

Builds a small project whose steps each fail once and are healed by their own `fix`, again and again
on one data folder, and reads the runs' event logs: from the failed attempt of a step to its success,
without the time in which the step was executed again (in the verification, with the steps that
passed before, and after the commit). What is left is the loop: classify, decide, copy, diff, guard,
verify, commit. Prints one JSON object; exits with 1 when a bound is broken.
"""
import argparse, json, os, shutil, sqlite3, statistics, subprocess, sys, tempfile

MEDIAN_MS_MAX = 150.0  # per healed failure, on a small workspace
GROWTH_MAX = 1.5       # the last heals against the first ones
# Failures of different steps are different failures: numbers alone do not tell them apart.
WORDS = ("amber birch cedar delta ember fjord grove heath inlet jetty knoll larch meadow north otter "
         "pine").split()

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--bin", required=True)
ap.add_argument("--heals", type=int, default=16, help="healed failures in a build, at most 16")
ap.add_argument("--builds", type=int, default=4)
ap.add_argument("--json")
A = ap.parse_args()


def project(folder):
    os.makedirs(f"{folder}/src")
    steps = []
    for i, word in enumerate(WORDS[:A.heals]):
        with open(f"{folder}/src/{word}.txt", "w") as f:
            f.write("bad\n")
        needs = f'needs = ["{WORDS[i - 1]}"]\n' if i else ""
        check = f"grep -q good src/{word}.txt || {{ echo 'the {word} is bad'; exit 1; }}"
        steps.append(f'[[step]]\nname = "{word}"\nrun = "{check}"\n'
                     f'fix = "echo good > src/{word}.txt"\n{needs}')
    with open(f"{folder}/metabuilder.toml", "w") as f:
        f.write("\n".join(steps) + f"\n[autofix]\nmax_total_attempts = {A.heals}\n")


def overheads(database, run):
    """Milliseconds of each healed failure of a run, in order."""
    rows = sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute(
        "SELECT type, step, at, body FROM events WHERE run_id = ? ORDER BY seq", (run,))
    failed, tools, found = {}, {}, []
    for kind, step, at, body in rows:
        body = json.loads(body)
        if kind == "step.attempt_failed":
            failed[step], tools[step] = at, 0
        elif kind == "autofix.verified":
            tools[step] += sum(check["duration_ms"] for check in body["evidence"]["checks"])
        elif kind == "step.succeeded" and step in failed:
            took = at - failed.pop(step) - tools.pop(step) - body["execution"]["duration_ms"]
            found.append(took)
    return found


def main():
    A.heals = min(A.heals, len(WORDS))
    folder = tempfile.mkdtemp(prefix="bench-autofix-")
    try:
        project(f"{folder}/project")
        env = dict(os.environ, METABUILDER_DATA=f"{folder}/data")
        all_of_them = []
        for _ in range(A.builds):
            done = subprocess.run([os.path.abspath(A.bin), "build", "project", "--output", "json"], cwd=folder,
                                  env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
            end = json.loads(done.stdout.splitlines()[-1])
            if done.returncode != 0:
                sys.exit(f"the build failed: {end.get('reason')} {done.stderr[-500:]}")
            run = bytes.fromhex(end["run_id"].replace("-", ""))
            all_of_them += overheads(f"{folder}/data/metabuilder.db", run)
        quarter = max(1, len(all_of_them) // 4)
        first, last = all_of_them[:quarter], all_of_them[-quarter:]
        in_build = [statistics.median(all_of_them[i::A.heals]) for i in (1, A.heals - 1)]
        growth = max(statistics.median(last) / max(statistics.median(first), 1.0), in_build[1] / max(in_build[0], 1.0))
        ranked = sorted(all_of_them)
        report = {
            "healed": len(ranked),
            "overhead_ms": {"median": statistics.median(ranked), "p90": ranked[int(len(ranked) * 0.9)],
                            "max": ranked[-1]},
            "first_quarter_median_ms": statistics.median(first),
            "last_quarter_median_ms": statistics.median(last),
            "second_of_a_build_median_ms": in_build[0],
            "last_of_a_build_median_ms": in_build[1],
            "growth": round(growth, 2),
            "bounds": {"median_ms": MEDIAN_MS_MAX, "growth": GROWTH_MAX},
        }
        report["within_bounds"] = report["overhead_ms"]["median"] <= MEDIAN_MS_MAX and growth <= GROWTH_MAX
        text = json.dumps(report, indent=1)
        print(text)
        if A.json:
            with open(A.json, "w") as f:
                f.write(text + "\n")
        sys.exit(0 if report["within_bounds"] else 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
