//! The count of tests, from checks of our own and from the words of a test runner.

/// How many tests ended how.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Ran and passed.
    pub(crate) passed: usize,
    /// Ran and failed, or did not run because something before them failed.
    pub(crate) failed: usize,
    /// Could not run here, and said why.
    pub(crate) skipped: usize,
    failures: Vec<String>,
    reasons: Vec<String>,
}

impl Tally {
    /// Counts one check of our own.
    pub(crate) fn check(&mut self, name: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                eprintln!("PASS {name}");
            }
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    /// Counts one failure.
    pub(crate) fn fail(&mut self, name: &str, why: &str) {
        self.failed += 1;
        eprintln!("FAIL {name}: {why}");
        self.failures.push(format!("{name}: {why}"));
    }

    /// Counts one check that cannot run here.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        eprintln!("SKIP {name}: {why}");
        self.reasons.push(format!("{name}: {why}"));
    }

    /// Adds what a runner counted.
    pub(crate) fn add(&mut self, name: &str, other: Self) {
        eprintln!(
            "---- {name}: {} passed, {} failed, {} skipped",
            other.passed, other.failed, other.skipped
        );
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures.iter().map(|line| format!("{name}: {line}")));
        self.reasons.extend(other.reasons);
    }

    /// Moves tests that passed only because they had nothing to do to the skipped ones:
    /// Rust's harness knows no test that skips itself at run time.
    fn skipped_inside(&mut self, reasons: Vec<String>) {
        let count = reasons.len().min(self.passed);
        self.passed -= count;
        self.skipped += count;
        self.reasons.extend(reasons);
    }

    /// Prints the failures, the reasons of what was skipped, and the closing line.
    pub(crate) fn close(&self) {
        if !self.reasons.is_empty() {
            println!("\nskipped:");
            self.reasons.iter().for_each(|reason| println!("  {reason}"));
        }
        if !self.failures.is_empty() {
            println!("\nfailed:");
            self.failures.iter().for_each(|failure| println!("  {failure}"));
        }
        println!();
        println!("{}", self.line());
    }

    fn line(&self) -> String {
        let skipped = match self.skipped {
            0 => String::new(),
            count => format!(", {count} skipped"),
        };
        format!("{} passed, {} failed{skipped}", self.passed, self.failed)
    }

    /// Reads the summary lines of nextest and of cargo test in `output`, and the names of
    /// the tests that failed.
    ///
    /// What a runner calls ignored or skipped was filtered out, or is the inner half of another
    /// test; a test that cannot run here says so with a line `skipped: REASON`.
    ///
    /// A run that printed no summary, or failed without counting a failure, is one failure.
    pub(crate) fn from_output(output: &str, success: bool) -> Self {
        let mut tally = Self::default();
        let mut reasons = Vec::new();
        // nextest prints what a test printed, and a test is a whole run of Rust's own harness.
        let nextest = output.lines().any(|line| line.trim().starts_with("Summary ["));
        for line in output.lines().map(str::trim) {
            if let Some(reason) = line.strip_prefix("skipped: ") {
                reasons.push(reason.to_owned());
            } else if let Some(counts) = line.strip_prefix("test result: ")
                && !nextest
            {
                tally.passed += count(counts, "passed");
                tally.failed += count(counts, "failed");
            } else if line.starts_with("Summary [") {
                let counts = line.split_once("tests run:").or_else(|| line.split_once("test run:"));
                let counts = counts.map_or("", |(_, counts)| counts);
                tally.passed += count(counts, "passed");
                tally.failed += count(counts, "failed")
                    + count(counts, "timed out")
                    + count(counts, "exec failed");
            } else if let Some(name) = failed_test(line, nextest)
                && !tally.failures.contains(&name)
            {
                tally.failures.push(name);
            }
        }
        tally.skipped_inside(reasons);
        if !success && tally.failed == 0 {
            tally.failed = 1;
            tally.failures.push("the runner failed before or after its tests".to_owned());
        }
        tally
    }
}

/// The number before `word` in `12 passed; 0 failed` or `12 passed (1 slow), 2 failed`.
fn count(text: &str, word: &str) -> usize {
    text.split([';', ',', '.'])
        .map(str::trim)
        .filter_map(|part| {
            let (number, rest) = part.split_once(' ')?;
            if rest.starts_with(word) { number.parse::<usize>().ok() } else { None }
        })
        .sum()
}

/// The name in `test a::b ... FAILED`, `FAIL [ 0.1s] (3/9) crate::suite a::b`.
fn failed_test(line: &str, nextest: bool) -> Option<String> {
    if !nextest && let Some(test) = line.strip_prefix("test ") {
        return test.strip_suffix(" ... FAILED").map(str::to_owned);
    }
    ["FAIL [", "TIMEOUT [", "ABORT [", "SIGABRT [", "SIGSEGV ["]
        .iter()
        .find_map(|word| line.strip_prefix(word))
        .and_then(|rest| rest.split_once(']'))
        .map(|(_, name)| match name.trim_start().split_once(") ") {
            Some((count, name)) if count.starts_with('(') => name.trim().to_owned(),
            _ => name.trim().to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_is_summed_over_its_binaries() {
        let output = "test a ... ok\ntest b::c ... FAILED\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
            test result: ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished\n";
        let tally = Tally::from_output(output, false);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (5, 1, 0));
        assert_eq!(tally.failures, ["b::c"]);
    }

    #[test]
    fn nextest_names_what_failed_once() {
        let output = "        FAIL [   0.011s] (2/9) husk-tests::lifecycle a::b\n\
            test a::b ... FAILED\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 8 filtered out\n\
            ------------\n\
            \u{20}    Summary [   1.5s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped\n\
            \u{20}       FAIL [   0.011s] (2/9) husk-tests::lifecycle a::b\n";
        let tally = Tally::from_output(output, false);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (6, 3, 0));
        assert_eq!(tally.failures, ["husk-tests::lifecycle a::b"]);
    }

    #[test]
    fn a_test_that_says_it_is_skipped_has_not_passed() {
        let output = "skipped: no podman\ntest a ... ok\ntest b ... ok\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let tally = Tally::from_output(output, true);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 0, 1));
        assert_eq!(tally.reasons, ["no podman"]);
    }

    #[test]
    fn a_runner_that_failed_without_a_count_is_a_failure() {
        assert_eq!(Tally::from_output("error: no such target", false).failed, 1);
        assert_eq!(Tally::from_output("", true), Tally::default());
    }

    #[test]
    fn the_closing_line_is_plain() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        assert_eq!(tally.line(), "3 passed, 0 failed");
        tally.skipped_inside(vec!["x: no podman".to_owned()]);
        assert_eq!(tally.line(), "2 passed, 0 failed, 1 skipped");
    }
}
