//! Doing something for each service, in the order of their dependencies and otherwise at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::project::Failure;

#[derive(Default)]
struct Progress {
    done: BTreeSet<String>,
    failed: BTreeSet<String>,
    working: usize,
    failures: Vec<Failure>,
}

/// Runs `work` for each name once everything before it has been done; at most `limit` at a
/// time. What comes after a failure is left out.
///
/// # Errors
/// Every failure, one a line.
pub(crate) fn in_order(
    before: &BTreeMap<String, Vec<String>>,
    limit: usize,
    work: &(dyn Fn(&str) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    let progress = Mutex::new(Progress::default());
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for (name, needed) in before {
            let (progress, changed) = (&progress, &changed);
            scope.spawn(move || {
                let needed: Vec<&String> =
                    needed.iter().filter(|one| before.contains_key(*one)).collect();
                let mut state = lock(progress);
                loop {
                    if needed.iter().any(|one| state.failed.contains(*one)) {
                        state.failed.insert(name.clone());
                        changed.notify_all();
                        return;
                    }
                    if state.working < limit && needed.iter().all(|one| state.done.contains(*one)) {
                        break;
                    }
                    state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.working += 1;
                drop(state);
                let result = work(name);
                let mut state = lock(progress);
                state.working -= 1;
                match result {
                    Ok(()) => {
                        state.done.insert(name.clone());
                    }
                    Err(failure) => {
                        state.failed.insert(name.clone());
                        state.failures.push(failure);
                    }
                }
                changed.notify_all();
            });
        }
    });
    let failures = progress.into_inner().unwrap_or_else(PoisonError::into_inner).failures;
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` for each, all at once.
///
/// # Errors
/// Every failure, one a line.
pub(crate) fn at_once<T: Sync>(
    items: &[T],
    work: &(dyn Fn(&T) -> Result<(), Failure> + Sync),
) -> Result<(), Failure> {
    if let [only] = items {
        return work(only);
    }
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        let lost = || Err("a thread ended early".to_owned());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    let failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// The same graph, the other way round.
pub(crate) fn reversed(before: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> =
        before.keys().map(|name| (name.clone(), Vec::new())).collect();
    for (name, needed) in before {
        for one in needed {
            if let Some(list) = out.get_mut(one) {
                list.push(name.clone());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_failures() {
        let graph = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
            let texts = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
            pairs.iter().map(|(name, needed)| ((*name).to_owned(), texts(needed))).collect()
        };
        let seen = Mutex::new(Vec::new());
        let before = graph(&[
            ("web", &["db", "cache"]),
            ("db", &[]),
            ("cache", &["db"]),
            ("x", &["bad"]),
            ("bad", &[]),
        ]);
        let result = in_order(&before, 4, &|name| {
            seen.lock().unwrap().push(name.to_owned());
            if name == "bad" { Err("broken".to_owned()) } else { Ok(()) }
        });
        assert_eq!(result, Err("broken".to_owned()));
        let seen = seen.into_inner().unwrap();
        let at = |name: &str| seen.iter().position(|one| one == name);
        assert!(at("db") < at("cache") && at("cache") < at("web"));
        assert_eq!(at("x"), None);
        assert_eq!(reversed(&before)["db"], ["cache", "web"]);
    }
}
