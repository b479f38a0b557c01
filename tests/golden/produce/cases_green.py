"""Healthy projects whose output is full of frightening words."""

from case import Case

GO = {"go.mod": "module example.org/demo\n\ngo 1.19\n"}
CARGO = "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n"
CMAKE = "cmake_minimum_required(VERSION 3.16)\nproject(demo C)\n"


def green(name, tool, command, files, **extra):
    return Case("green-" + name, "unknown", tool, command, files, note="benign", **extra)


CASES = [
    green("pytest-error-names", "pytest", "pytest -v", {"test_errors.py": "import pytest\n\n\ndef test_connection_refused_error():\n    with pytest.raises(ConnectionRefusedError):\n        raise ConnectionRefusedError('refused')\n\n\ndef test_fatal_failure_is_reported():\n    assert True\n\n\ndef test_out_of_memory_killed():\n    assert True\n"}),
    green("pytest-printed-errors", "pytest", "pytest -s -q", {"test_a.py": "import traceback\n\n\ndef test_prints():\n    try:\n        {}['x']\n    except KeyError:\n        traceback.print_exc()\n    print('ERROR: simulated failure, retrying')\n    print('429 Too Many Requests (mock)')\n"}),
    green("pytest-xfail-skips", "pytest", "pytest -rA", {"test_a.py": "import pytest\n\n\n@pytest.mark.xfail(reason='segfault upstream')\ndef test_crash():\n    assert 0\n\n\n@pytest.mark.skip(reason='permission denied on CI')\ndef test_skip():\n    pass\n\n\ndef test_ok():\n    pass\n"}),
    green("pytest-warnings", "pytest", "pytest -q", {"test_a.py": "import warnings\n\n\ndef test_warns():\n    warnings.warn('deprecated: connection errors will be fatal', DeprecationWarning)\n"}),
    green("unittest-errors-logged", "unittest", "python -m unittest -v", {"test_a.py": "import logging\nimport unittest\n\n\nclass ErrorHandling(unittest.TestCase):\n    def test_failure_path(self):\n        logging.error('database is locked')\n        logging.exception('handled')\n\n    def test_error(self):\n        pass\n"}),
    green("python-handled", "python", "python app.py", {"app.py": "import logging\nlogging.basicConfig(level='INFO')\nlog = logging.getLogger('app')\nfor n in range(3):\n    try:\n        raise TimeoutError('connection timed out')\n    except TimeoutError as error:\n        log.warning('attempt %s failed: %s, retrying', n + 1, error)\nlog.info('recovered, 0 errors, 0 failures')\n"}),
    green("mypy-clean", "mypy", "mypy error_types.py", {"error_types.py": "class FatalError(Exception):\n    pass\n"}),
    green("ruff-clean", "ruff", "ruff check . && ruff format --check .", {"errors.py": "class FatalError(Exception):\n    pass\n"}),
    green("pylint-clean", "pylint", "pylint errors.py", {"errors.py": "\"\"\"Errors.\"\"\"\n\n\nclass FatalError(Exception):\n    \"\"\"Fatal.\"\"\"\n"}),
    green("black-clean", "black", "black --check .", {"errors.py": "class FatalError(Exception):\n    pass\n"}),
    green("bandit-clean", "bandit", "bandit -r .", {"app.py": "def vulnerable_sounding_name():\n    return 'error'\n"}),
    green("alembic-ok", "alembic", "alembic upgrade head && alembic current", {}),
    green("django-ok", "django", "python manage.py migrate && python manage.py check", {}),
    green("jest-errors", "jest", "jest --verbose", {"package.json": "{}", "error.test.js": "test('throws TypeError on invalid input', () => { expect(() => { throw new TypeError('x'); }).toThrow(); });\ntest('logs failure', () => { console.error('Error: connect ECONNREFUSED 127.0.0.1:5432'); });\n"}),
    green("mocha-errors", "mocha", "mocha test", {"test/a.js": "describe('fatal errors', () => { it('fails when permission is denied', () => {}); it('rejects 500 Internal Server Error', () => {}); });\n"}),
    green("vitest-errors", "vitest", "vitest run", {"package.json": "{\"type\": \"module\"}", "a.test.js": "import { test, expect } from 'vitest';\ntest('handles ENOSPC: no space left on device', () => { console.error('FATAL ERROR: simulated'); expect(1).toBe(1); });\n"}),
    green("node-test", "node", "node --test", {"a.test.js": "const test = require('node:test');\ntest('not ok is reported as failure', () => {});\ntest('rate limit exceeded', () => {});\n"}),
    green("eslint-warnings", "eslint", "eslint src", {"eslint.config.js": "module.exports = [{ rules: { eqeqeq: 'warn', 'no-unused-vars': 'warn' } }];\n", "package.json": "{}", "src/a.js": "const error = 1;\nif (error == 2) {}\n"}),
    green("tsc-clean", "tsc", "tsc -p . && echo compiled without errors", {"tsconfig.json": "{\"compilerOptions\": {\"strict\": true, \"noEmit\": true, \"types\": []}, \"include\": [\"a.ts\"]}", "a.ts": "export class FatalError extends Error {}\n"}),
    green("npm-deprecated", "npm", "npm run build", {"package.json": "{\"name\": \"demo\", \"version\": \"1.0.0\", \"scripts\": {\"build\": \"node build.js\"}}", "build.js": "console.warn('npm WARN deprecated request@2.88.2: request has been deprecated');\nconsole.log('0 errors, 3 warnings');\nconsole.log('found 0 vulnerabilities');\n"}),
    green("cargo-test-errors", "cargo", "cargo test --offline", {"Cargo.toml": CARGO, "src/lib.rs": "#[cfg(test)]\nmod error_handling {\n    #[test]\n    fn connection_refused_is_fatal() {}\n    #[test]\n    #[should_panic]\n    fn panics_on_failure() { panic!(\"fatal: out of memory\") }\n    #[test]\n    fn failed_assertion_is_reported() {}\n}\n"}),
    green("cargo-warnings", "cargo", "cargo build --offline", {"Cargo.toml": CARGO, "src/lib.rs": "fn unused_error() {}\n#[deprecated]\npub fn failure() {}\npub fn g() { failure() }\n"}),
    green("cargo-clippy-clean", "clippy", "cargo clippy --offline -- -D warnings", {"Cargo.toml": CARGO, "src/lib.rs": "pub struct FatalError;\n"}),
    green("go-test-verbose", "go", "go test -v ./...", {**GO, "a_test.go": "package demo\n\nimport \"testing\"\n\nfunc TestErrorFailure(t *testing.T) { t.Log(\"panic: simulated error: connection refused\") }\nfunc TestFatal(t *testing.T) { t.Run(\"permission_denied\", func(t *testing.T) {}) }\n"}),
    green("gcc-warnings", "gcc", "gcc -Wall -Wextra -c a.c && echo done", {"a.c": "#include <stdio.h>\nint error_count(int failures) { int unused; printf(\"%s\", 1 ? \"error\" : \"fatal\"); return 0; }\n"}),
    green("make-ignored-error", "make", "make", {"Makefile": "all:\n\t-rm no-such-file\n\t@echo 'build finished: 0 errors, 0 failures'\n"}),
    green("cmake-checks", "cmake", "cmake -S . -B build && cmake --build build", {"CMakeLists.txt": CMAKE + "include(CheckIncludeFile)\ncheck_include_file(no_such_header.h HAVE_X)\ncheck_include_file(stdio.h HAVE_STDIO)\nadd_executable(error_test a.c)\n", "a.c": "int main(void) { return 0; }\n"}),
    green("ctest-passed", "ctest", "cmake -S . -B build >/dev/null && ctest --test-dir build", {"CMakeLists.txt": CMAKE + "enable_testing()\nadd_test(NAME fatal_error_handling COMMAND true)\nadd_test(NAME crash_recovery COMMAND true)\n"}),
    green("rspec-errors", "rspec", "rspec -f d", {"spec/a_spec.rb": "RSpec.describe 'error handling' do\n  it('fails with a fatal exception') { expect { raise 'x' }.to raise_error(RuntimeError) }\n  it('reports 503 Service Unavailable') { }\nend\n"}),
    green("phpunit-ok", "phpunit", "phpunit --testdox tests", {"tests/ATest.php": "<?php\nuse PHPUnit\\Framework\\TestCase;\nfinal class ATest extends TestCase {\n  public function testFatalErrorIsLogged(): void { $this->assertTrue(true); }\n}\n"}),
    green("java-logged", "java", "java A.java", {"A.java": "import java.util.logging.*;\nclass A { public static void main(String[] a) { Logger l = Logger.getLogger(\"a\"); try { Integer.parseInt(\"x\"); } catch (NumberFormatException e) { l.log(Level.WARNING, \"ignored, using the default\", e); } System.out.println(\"finished: 0 failures\"); } }\n"}),
    green("bats-ok", "bats", "bats a.bats", {"a.bats": "@test \"fails with an error when the file is missing\" { true; }\n@test \"not ok: permission denied\" { true; }\n"}),
    green("curl-retry", "curl", "curl -sS --retry 2 --retry-delay 0 -o out $SERVER/flaky && echo downloaded", {}),
    green("git-clean", "git", "git fetch 2>/dev/null || true; git status && git log --oneline", {}, before="git init -q -b main . && git config user.email a@b.c && git config user.name n && echo x > error.txt && git add . && git commit -qm 'Fix fatal error: segmentation fault when the disk is full'"),
    green("terraform-ok", "terraform", "terraform init -no-color && terraform validate -no-color", {"main.tf": "variable \"error_message\" {\n  default = \"failed\"\n}\n"}),
    green("yamllint-ok", "yamllint", "yamllint a.yml && echo no problems", {"a.yml": "---\non_error: fail\n"}),
    green("shellcheck-ok", "shellcheck", "shellcheck a.sh && echo 'no issues: error.sh, fatal.sh'", {"a.sh": "#!/bin/bash\necho error >&2\n"}),
    green("prove-ok", "prove", "prove -v t", {"t/a.t": "use Test::More tests => 2;\nok(1, 'dies on fatal error');\nok(1, 'connection refused is not ok');\n"}),
    green("ci-github", "github", "pytest -q", {"test_a.py": "def test_failure_modes():\n    print('error')\n"}, ci="github-ok"),
    green("ci-gitlab", "gitlab", "go test ./...", {**GO, "a_test.go": "package demo\n\nimport \"testing\"\n\nfunc TestErrors(t *testing.T) {}\n"}, ci="gitlab-ok"),
]


def fill(cases):
    """The two database projects are the broken ones without what is broken."""
    from cases_python import ALEMBIC, DJANGO, FIRST_MIGRATION, revision

    files = {
        "green-alembic-ok": {**ALEMBIC, "db/versions/a1.py": revision("a1", None, "op.create_table('errors', sa.Column('id', sa.Integer))")},
        "green-django-ok": {**DJANGO, "orders/migrations/0001_initial.py": FIRST_MIGRATION},
    }
    return [Case(**{**case.__dict__, "files": files.get(case.id, case.files)}) for case in cases]
