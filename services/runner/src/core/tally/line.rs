//! One line of output: which tool says what about its tests.

use super::words::{after, number, pairs, plain};
use super::{Counts, NAMES_MAX, Tally};

/// What the lines so far said.
#[derive(Debug, Default)]
pub(super) struct Found {
    tally: Tally,
    /// A `Ran N tests` waits for its verdict.
    unittest: bool,
    /// Go names every test, not only the failed ones.
    go_names: bool,
}

impl Found {
    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    pub(super) fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let line = plain(line);
        let line = line.as_str();
        let _known = self.cargo(line)
            || self.go(line)
            || self.pytest(line)
            || self.unittest(line)
            || self.javascript(line)
            || self.tap(line)
            || self.others(line);
    }

    fn count(&mut self, tool: &str, executed: u64, failed: u64, skipped: u64) -> bool {
        let counts = match self.tally.tools.get_mut(tool) {
            Some(counts) => counts,
            None => self.tally.tools.entry(tool.to_owned()).or_default(),
        };
        let more = Counts { executed, failed, skipped };
        counts.executed += more.executed;
        counts.failed += more.failed;
        counts.skipped += more.skipped;
        true
    }

    fn name(&mut self, name: &str, ran: bool) -> bool {
        let names = if ran { &mut self.tally.executed } else { &mut self.tally.skipped };
        if names.len() < NAMES_MAX {
            names.insert(name.trim().to_owned());
        }
        true
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`, `test a::b ... ok`, and nextest.
    fn cargo(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let of = |word: &str| {
                let part = rest.split([';', '.']).find(|p| p.trim_end().ends_with(word));
                part.and_then(number).map_or(0, |(n, _)| n)
            };
            let (passed, failed) = (of(" passed"), of(" failed"));
            let skipped = of(" ignored") + of(" filtered out");
            return self.count("cargo test", passed + failed, failed, skipped);
        }
        if let Some((name, end)) = line.strip_prefix("test ").and_then(|r| r.rsplit_once(" ... ")) {
            return self.name(name, !end.starts_with("ignored"));
        }
        let Some((_, rest)) =
            line.split_once("] ").filter(|(start, _)| start.trim_start().starts_with("Summary ["))
        else {
            return false;
        };
        let Some((executed, rest)) = number(rest) else { return false };
        let Some(pairs) = rest.split_once(": ").and_then(|(_, p)| pairs(p, &[','])) else {
            return false;
        };
        let of = |wanted: &str| {
            pairs.iter().filter(|(_, w)| w.starts_with(wanted)).map(|(n, _)| n).sum::<u64>()
        };
        self.count("nextest", executed, of("failed"), of("skipped"))
    }

    /// `ok pkg 0.1s` and `FAIL pkg` with tabs between, and with `-v` each test.
    fn go(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("ok  \t") {
            let ran = u64::from(!rest.contains("[no tests to run]"));
            return self.count("go packages", ran, 0, 0);
        }
        if line.starts_with("FAIL\t") {
            return self.count("go packages", 1, 1, 0);
        }
        if line.starts_with("?   \t") {
            return self.count("go packages", 0, 0, 0);
        }
        let line = line.trim_start();
        if line.starts_with("=== RUN ") {
            self.go_names = true;
            return true;
        }
        let Some(rest) = line.strip_prefix("--- ").filter(|_| self.go_names) else { return false };
        let Some((verdict, rest)) = rest.split_once(": ") else { return false };
        let name = rest.split(' ').next().unwrap_or(rest);
        match verdict {
            "PASS" => self.count("go test", 1, 0, 0) && self.name(name, true),
            "FAIL" => self.count("go test", 1, 1, 0) && self.name(name, true),
            "SKIP" => self.count("go test", 0, 0, 1) && self.name(name, false),
            _ => false,
        }
    }

    /// `== 1 failed, 2 passed in 0.03s ==`, and with `-v` each test.
    fn pytest(&mut self, line: &str) -> bool {
        let bare = line.trim_matches(['=', ' ']);
        if let Some((counts, rest)) = bare.rsplit_once(" in ")
            && rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.split(' ').next().is_some_and(|t| t.ends_with('s'))
        {
            if counts == "no tests ran" {
                return self.count("pytest", 0, 0, 0);
            }
            let Some(pairs) = pairs(counts, &[',']) else { return false };
            let known =
                ["passed", "failed", "error", "skipped", "xfailed", "xpassed", "deselected"];
            if !pairs.iter().any(|(_, w)| known.iter().any(|k| w.starts_with(k))) {
                return false;
            }
            let of = |words: &[&str]| {
                pairs.iter().filter(|(_, w)| words.contains(w)).map(|(n, _)| n).sum::<u64>()
            };
            let executed = of(&["passed", "failed", "xpassed"]);
            let skipped = of(&["skipped", "xfailed", "deselected"]);
            return self.count("pytest", executed, of(&["failed"]), skipped);
        }
        let Some((name, rest)) = line.split_once(' ').filter(|(n, _)| n.contains("::")) else {
            return false;
        };
        match rest.split(' ').next() {
            Some("PASSED" | "FAILED" | "XPASS") => self.name(name, true),
            Some("SKIPPED" | "XFAIL") => self.name(name, false),
            _ => false,
        }
    }

    /// `Ran 3 tests in 0.1s` and then `OK (skipped=1)` or `FAILED (failures=1)`.
    fn unittest(&mut self, line: &str) -> bool {
        if let Some((ran, rest)) = line.strip_prefix("Ran ").and_then(number) {
            if !rest.starts_with("test") || !rest.contains(" in ") {
                return false;
            }
            self.unittest = true;
            return self.count("unittest", ran, 0, 0);
        }
        let verdict = line.starts_with("OK") || line.starts_with("FAILED (");
        if self.unittest && verdict {
            self.unittest = false;
            let of = |label: &str| after(line, label).unwrap_or(0);
            let skipped = of("skipped=") + of("expected failures=");
            let counts = self.tally.tools.entry("unittest".to_owned()).or_default();
            counts.executed = counts.executed.saturating_sub(skipped);
            let failed = of("(failures=") + of(", failures=") + of("errors=");
            return self.count("unittest", 0, failed, skipped);
        }
        let Some((name, end)) = line.split_once(" ... ").filter(|(n, _)| n.starts_with("test"))
        else {
            return false;
        };
        match end.split([' ', '\'']).next() {
            Some("ok" | "FAIL" | "ERROR") => self.name(name, true),
            Some("skipped" | "expected") => self.name(name, false),
            _ => false,
        }
    }

    /// Jest and vitest (`Tests: 1 failed, 2 passed, 3 total`), mocha and node (`2 passing`).
    fn javascript(&mut self, line: &str) -> bool {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("Tests:") {
            return rest.trim_end().ends_with(" total") && self.sum("jest", rest, &[',']);
        }
        if let Some(rest) = line.strip_prefix("Tests  ")
            && let Some((counts, _)) = rest.rsplit_once(" (")
        {
            return self.sum("vitest", counts, &['|']);
        }
        if let Some((n, word)) = line.strip_prefix("\u{2139} ").and_then(|r| r.split_once(' ')) {
            // node --test: `ℹ pass 2`
            let Ok(count) = word.trim().parse() else { return false };
            return match n {
                "pass" => self.count("node", count, 0, 0),
                "fail" => self.count("node", count, count, 0),
                "skipped" | "todo" => self.count("node", 0, 0, count),
                _ => false,
            };
        }
        if let Some(name) = line.strip_prefix("\u{2713} ").or(line.strip_prefix("\u{2714} ")) {
            return self.name(without_time(name), true);
        }
        if let Some(name) = line.strip_prefix("\u{2715} ").or(line.strip_prefix("\u{2716} ")) {
            return self.name(without_time(name), true);
        }
        if let Some(name) =
            line.strip_prefix("\u{25cb} skipped ").or(line.strip_prefix("\u{2193} "))
        {
            return self.name(without_time(name), false);
        }
        let Some((n, word)) = number(line) else { return false };
        match word.split(' ').next() {
            Some("passing") => self.count("mocha", n, 0, 0),
            Some("failing") if word == "failing" => self.count("mocha", n, n, 0),
            Some("pending") if word == "pending" => self.count("mocha", 0, 0, n),
            _ => false,
        }
    }

    fn sum(&mut self, tool: &str, counts: &str, separators: &[char]) -> bool {
        let Some(pairs) = pairs(counts, separators) else { return false };
        let of = |words: &[&str]| {
            pairs.iter().filter(|(_, w)| words.contains(w)).map(|(n, _)| n).sum::<u64>()
        };
        let failed = of(&["failed"]);
        let skipped = of(&["skipped", "todo", "pending", "expected fail"]);
        self.count(tool, of(&["passed"]) + failed, failed, skipped)
    }

    /// `ok 1 - name`, `not ok 2 - name # SKIP why`.
    fn tap(&mut self, line: &str) -> bool {
        let line = line.trim_start();
        let (ok, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => match line.strip_prefix("ok ") {
                Some(rest) => (true, rest),
                None => return false,
            },
        };
        let Some((_, rest)) = number(rest) else { return false };
        let name = rest.trim_start_matches("- ");
        let (name, directive) = name.split_once(" # ").unwrap_or((name, ""));
        let word = directive.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        if word == "skip" || word == "todo" {
            return self.count("tap", 0, 0, 1) && self.name(name, false);
        }
        self.count("tap", 1, u64::from(!ok), 0) && self.name(name, true)
    }

    /// Maven, dotnet, rspec, phpunit, ctest.
    fn others(&mut self, line: &str) -> bool {
        if let Some(ran) = after(line, "Tests run: ") {
            if line.contains("Time elapsed") {
                return true;
            }
            let of = |label: &str| after(line, label).unwrap_or(0);
            let skipped = of("Skipped: ");
            let failed = of("Failures: ") + of("Errors: ");
            return self.count("surefire", ran.saturating_sub(skipped), failed, skipped);
        }
        if line.contains("Failed:") && line.contains("Passed:") && line.contains("Total:") {
            let of = |label: &str| after(line, label).unwrap_or(0);
            let (failed, passed) = (of("Failed:"), of("Passed:"));
            return self.count("dotnet", failed + passed, failed, of("Skipped:"));
        }
        if let Some(rest) = line.strip_prefix("OK (")
            && let Some((ran, _)) = number(rest).filter(|(_, w)| w.starts_with("test"))
        {
            return self.count("phpunit", ran, 0, 0);
        }
        if line.starts_with("Tests: ") && line.contains("Assertions: ") {
            let of = |label: &str| after(line, label).unwrap_or(0);
            let skipped = of("Skipped: ") + of("Incomplete: ");
            let failed = of("Failures: ") + of("Errors: ");
            return self.count("phpunit", of("Tests: ").saturating_sub(skipped), failed, skipped);
        }
        let Some((n, rest)) = number(line) else { return false };
        if rest.starts_with("example") {
            let of = |word: &str| {
                let part = rest.split(", ").find(|p| p.contains(word));
                part.and_then(number).map_or(0, |(n, _)| n)
            };
            let (failed, pending) = (of("failure"), of("pending"));
            return self.count("rspec", n.saturating_sub(pending), failed, pending);
        }
        if let Some(total) = after(rest, "failed out of ").filter(|_| rest.starts_with('%')) {
            let failed = after(rest, "passed, ").unwrap_or(0);
            return self.count("ctest", total, failed, 0);
        }
        false
    }
}

/// A test's name without the time behind it, such as `(3 ms)` or `5ms`.
fn without_time(name: &str) -> &str {
    let bare = name.rsplit_once(" (").filter(|(_, t)| t.ends_with("ms)") || t.ends_with("s)"));
    let bare = bare.map_or(name, |(start, _)| start);
    match bare.rsplit_once(' ') {
        Some((start, time))
            if time.ends_with("ms") && time.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            start.trim_end()
        }
        _ => bare,
    }
}
