"""Wraps the output of real commands as continuous-integration systems print it."""

START = 1767261600


def stamped(lines, first=0):
    import datetime

    for n, line in enumerate(lines):
        at = datetime.datetime.fromtimestamp(START + first + n, datetime.timezone.utc)
        yield f"{at:%Y-%m-%dT%H:%M:%S}.{(n * 7919) % 9999999:07d}Z {line}"


def github_step(command, output, code):
    lines = [f"##[group]Run {command}", f"\x1b[36;1m{command}\x1b[0m", "shell: /usr/bin/bash -e {0}", "##[endgroup]"]
    lines += output.splitlines()
    if code:
        lines.append(f"##[error]Process completed with exit code {code}.")
    return lines


def github(kind, before, command, output, code, run):
    lines = ["Current runner version: '2.320.0'", "##[group]Operating System", "Ubuntu", "24.04", "##[endgroup]", "Prepare workflow directory", "Complete job name: build"]
    lines += github_step("actions/checkout@v4", "Syncing repository: team/project\nHEAD is now at 1a2b3c4 Handle fatal errors", 0)
    if before:
        lines += github_step("./prepare.sh", before, 0)
    if kind == "continue":
        lines += github_step("pytest -q", run("pytest -q"), 1)
    lines += github_step(command, output, code)
    if kind == "lost":
        lines += ["##[error]The runner has received a shutdown signal. This can happen when the runner service is stopped, or a manually started runner is canceled.", "##[error]The operation was canceled."]
    if kind == "teardown":
        lines += github_step("actions/upload-artifact@v4", "##[warning]No files were found with the provided path: reports/. No artifacts will be uploaded.", 0)
        lines += ["Post job cleanup.", "##[group]Run actions/cache (post)", "##[endgroup]", "##[warning]Failed to save: Unable to reserve cache with key linux-1, another job may be creating this cache.", "fatal: error connecting to the cache service: Connection refused"]
    lines += ["Post job cleanup.", "[command]/usr/bin/git version", "git version 2.47.0", "Cleaning up orphan processes"]
    return "\n".join(stamped(lines)) + "\n"


def gitlab(kind, before, command, output, code, run):
    text = "\x1b[0KRunning with gitlab-runner 17.5.0 (abcdef12)\x1b[0;m\n\x1b[0Ksection_start:1767261600:prepare_executor\r\x1b[0K\x1b[0K\x1b[36;1mPreparing the \"docker\" executor\x1b[0;m\x1b[0;m\nUsing Docker executor with image build:1 ...\nsection_end:1767261601:prepare_executor\r\x1b[0K\n"
    text += f"\x1b[0Ksection_start:1767261602:step_script\r\x1b[0K\x1b[0K\x1b[36;1mExecuting \"step_script\" stage of the job script\x1b[0;m\x1b[0;m\n\x1b[32;1m$ {command}\x1b[0;m\n{output}section_end:1767261630:step_script\r\x1b[0K\n"
    if kind == "teardown":
        text += "\x1b[0Ksection_start:1767261631:upload_artifacts_on_failure\r\x1b[0K\x1b[0K\x1b[36;1mUploading artifacts for failed job\x1b[0;m\x1b[0;m\n\x1b[0;33mWARNING: reports: no matching files. Ensure that the artifact path is relative to the working directory\x1b[0;m\n\x1b[31;1mERROR: No files to upload\x1b[0;m\nsection_end:1767261632:upload_artifacts_on_failure\r\x1b[0K\n"
    text += "\x1b[0Ksection_start:1767261633:cleanup_file_variables\r\x1b[0K\x1b[0K\x1b[36;1mCleaning up project directory and file based variables\x1b[0;m\x1b[0;m\nsection_end:1767261634:cleanup_file_variables\r\x1b[0K\n"
    return text + (f"\x1b[31;1mERROR: Job failed: exit code {code}\n\x1b[0;m\n" if code else "\x1b[32;1mJob succeeded\n\x1b[0;m\n")


def azure(kind, before, command, output, code, run):
    lines = ["##[section]Starting: Checkout", "HEAD is now at 1a2b3c4", "##[section]Finishing: Checkout", f"##[section]Starting: {command}", "==============================================================================", "Task         : Command line", "##[command]/usr/bin/bash script.sh", *output.splitlines()]
    if code:
        lines.append(f"##[error]Bash exited with code '{code}'.")
    lines += [f"##[section]Finishing: {command}", "##[section]Starting: Post-job: Checkout", "##[section]Finishing: Post-job: Checkout"]
    return "\n".join(stamped(lines)) + "\n"


def buildkite(kind, before, command, output, code, run):
    return f"~~~ Preparing working directory\n$ cd /builds/project\n--- Installing dependencies\nUsing rake 13.1.0\n+++ {command}\n{output}" + (f"\x1b[31m🚨 Error: The command exited with status {code}\x1b[0m\n^^^ +++\n~~~ Running global pre-exit hook\n$ /etc/buildkite/hooks/pre-exit\n" if code else "")


def travis(kind, before, command, output, code, run):
    return f"travis_fold:start:git.checkout\r\x1b[0K$ git clone --depth=50 https://example.org/team/project.git\nCloning into 'team/project'...\ntravis_fold:end:git.checkout\r\x1b[0K$ {command}\n{output}\n\x1b[31;1mThe command \"{command}\" exited with {code}.\x1b[0m\ntravis_fold:start:after_failure\r\x1b[0K$ ./upload-logs.sh\nCould not upload: 403 Forbidden\ntravis_fold:end:after_failure\r\x1b[0K\nDone. Your build exited with 1.\n"


SYSTEMS = {"github": github, "gitlab": gitlab, "azure": azure, "buildkite": buildkite, "travis": travis}


def wrap(ci, before, command, output, code, run):
    system, _, kind = ci.partition("-")
    return SYSTEMS[system](kind, before, command, output, code, run)
