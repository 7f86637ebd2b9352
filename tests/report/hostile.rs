//! The table of docs/security.md: the tests of which published cases a runtime passes.

use crate::suite::Results;

/// Peers are shown for ids of these years alone: who still has what is newer is
/// not for us to publish.
const LAST_YEAR: u32 = 2024;

/// Modules that try husk-oci alone, and pass on any other by doing nothing.
const OWN: [&str; 3] = ["calls", "faults", "trace"];

/// A row of the document's own table.
pub(crate) struct Case {
    published: String,
    /// `module::test`, or `module::*`.
    tests: Vec<String>,
}

/// The rows below the heading "published as".
pub(crate) fn cases(document: &str) -> Result<Vec<Case>, String> {
    let rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| published as | mechanism |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cases: Vec<Case> = rows.filter_map(case).collect();
    if cases.is_empty() { Err("no table of published cases".to_owned()) } else { Ok(cases) }
}

fn case(row: &str) -> Option<Case> {
    let mut columns = row.trim_matches('|').split(" | ");
    let published = columns.next()?.trim().to_owned();
    let mut module = String::new();
    let mut tests = Vec::new();
    // A test without a module is of the one before it.
    for name in columns.nth(1)?.split('`').skip(1).step_by(2) {
        match name.split_once("::") {
            Some((of, _)) => {
                module = of.to_owned();
                tests.push(name.to_owned());
            }
            None => tests.push(format!("{module}::{name}")),
        }
    }
    Some(Case { published, tests })
}

impl Case {
    /// Whether every id is of a year that peers are shown for.
    fn is_old(&self) -> bool {
        let years: Vec<u32> = self
            .published
            .split("CVE-")
            .skip(1)
            .filter_map(|id| id.split('-').next()?.parse().ok())
            .collect();
        !years.is_empty() && years.iter().all(|year| *year <= LAST_YEAR)
    }

    /// Whether all of its tests have passed.
    fn holds(&self, results: &Results) -> Result<bool, String> {
        let mut holds = true;
        for test in &self.tests {
            let mut own = results
                .iter()
                .filter(|(name, _)| match test.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => *name == test,
                })
                .peekable();
            if own.peek().is_none() {
                return Err(format!("{}: there is no test {test}", self.published));
            }
            holds &= own.all(|(_, passed)| *passed);
        }
        Ok(holds)
    }
}

pub(crate) fn tables(cases: &[Case], results: &[(String, Results)]) -> Result<String, String> {
    let names: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| published as | {} |\n", names.join(" | "));
    text.push_str(&format!("|---|{}\n", "---|".repeat(results.len())));
    // Every row must name tests that there are, also where peers are not shown.
    for case in cases {
        let mut row = format!("| {} |", case.published);
        for (_, results) in results {
            row.push_str(if case.holds(results)? { " passed |" } else { " **failed** |" });
        }
        if case.is_old() {
            text.push_str(&row);
            text.push('\n');
        }
    }
    let tried = |name: &str| !OWN.iter().any(|own| name.split("::").next() == Some(own));
    text.push_str("| all tests, passed of tried |");
    for (_, all) in results {
        let tried: Vec<bool> = all.iter().filter(|(n, _)| tried(n)).map(|(_, ok)| *ok).collect();
        let passed = tried.iter().filter(|ok| **ok).count();
        text.push_str(&format!(" {passed} of {} |", tried.len()));
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "x\n| published as | mechanism | test |\n|---|---|---|\n\
        | CVE-2019-1 (a), CVE-2025-2 (b) | m | `links::one`, `two` |\n\
        | CVE-2021-3 | m | `lengths::*` |\n\nrest";

    #[test]
    fn rows_ids_and_tests() {
        let cases = cases(DOCUMENT).unwrap_or_default();
        assert_eq!(cases.len(), 2);
        assert_eq!(cases[0].tests, ["links::one", "links::two"]);
        assert!(!cases[0].is_old() && cases[1].is_old());
        let mut results: Results = [("links::one", true), ("links::two", false)]
            .map(|(name, ok)| (name.to_owned(), ok))
            .into();
        assert_eq!(cases[0].holds(&results), Ok(false));
        assert!(cases[1].holds(&results).is_err(), "a test that is not there");
        results.insert("lengths::a".to_owned(), true);
        assert_eq!(cases[1].holds(&results), Ok(true));
        let table = tables(&cases, &[("x 1".to_owned(), results)]).unwrap_or_default();
        assert!(table.contains("| CVE-2021-3 | passed |\n"), "{table}");
        assert!(!table.contains("CVE-2019"), "{table}");
    }
}
