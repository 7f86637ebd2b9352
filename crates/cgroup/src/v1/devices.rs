//! `linux.resources.devices` on v1 (cgroup-v1/devices.rst): one default and a
//! list of exceptions to it, which the kernel keeps unordered.

use std::fmt::Write as _;

use crate::devices::{ALL, DEFAULTS, Kind, MKNOD, READ, Rule, WRITE};
use crate::error::Error;
use crate::setting::Sink;

const PROPERTY: &str = "linux.resources.devices";

/// What the kernel keeps of a list of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List {
    /// Whether what no exception names is allowed.
    allow: bool,
    exceptions: Vec<Exception>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exception {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

impl List {
    /// Folds ordered rules and the default ones into a list.
    ///
    /// # Errors
    ///
    /// A rule that carves a piece out of an earlier, wider one: the kernel's
    /// list cannot say that.
    pub(crate) fn new(rules: &[Rule]) -> Result<Self, Error> {
        let mut list = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            list.add(rule).map_err(|wider| {
                Error::invalid(
                    &format!("{PROPERTY}[{at}]"),
                    Self::describe(rule),
                    format!("cgroup v1 cannot except it from the earlier rule for {wider}"),
                )
            })?;
        }
        for rule in &DEFAULTS {
            // Where everything is allowed but for a wide rule of the user's, that
            // rule stays: the kernel could not express the hole.
            let _ = list.add(rule);
        }
        Ok(list)
    }

    /// Adds a rule, or tells the earlier exception that it would split.
    fn add(&mut self, rule: &Rule) -> Result<(), String> {
        if rule.is_total() {
            *self = Self { allow: rule.allow, exceptions: Vec::new() };
            return Ok(());
        }
        let kinds: &[Kind] = match rule.kind {
            Some(Kind::Block) => &[Kind::Block],
            Some(Kind::Char) => &[Kind::Char],
            None => &[Kind::Block, Kind::Char],
        };
        for kind in kinds {
            let (major, minor) = (rule.major, rule.minor);
            let new = Exception { kind: *kind, major, minor, access: rule.access };
            if rule.allow == self.allow { self.take_back(&new)? } else { self.except(new) }
        }
        Ok(())
    }

    fn except(&mut self, new: Exception) {
        match self.exceptions.iter_mut().find(|old| old.same_devices(&new)) {
            Some(old) => old.access |= new.access,
            None => self.exceptions.push(new),
        }
    }

    fn take_back(&mut self, taken: &Exception) -> Result<(), String> {
        let overlaps = |old: &Exception| {
            old.kind == taken.kind
                && old.access & taken.access != 0
                && old.major.zip(taken.major).is_none_or(|(a, b)| a == b)
                && old.minor.zip(taken.minor).is_none_or(|(a, b)| a == b)
        };
        let covered = |old: &Exception| {
            (taken.major.is_none() || taken.major == old.major)
                && (taken.minor.is_none() || taken.minor == old.minor)
        };
        if let Some(wider) = self.exceptions.iter().find(|old| overlaps(old) && !covered(old)) {
            return Err(wider.text());
        }
        for old in self.exceptions.iter_mut().filter(|old| overlaps(old)) {
            old.access &= !taken.access;
        }
        self.exceptions.retain(|old| old.access != 0);
        Ok(())
    }

    fn describe(rule: &Rule) -> String {
        let (major, minor, access) = (rule.major, rule.minor, rule.access);
        let text = |kind| Exception { kind, major, minor, access }.text();
        match rule.kind {
            Some(kind) => text(kind),
            None => text(Kind::Char).replacen('c', "a", 1),
        }
    }

    /// Reads `devices.list`; `None` for a list whose exceptions the kernel does not show.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut list = Self::default();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ')?;
            let (numbers, access) = rest.split_once(' ')?;
            let (major, minor) = numbers.split_once(':')?;
            let number = |text: &str| match text {
                "*" => Some(None),
                digits => digits.parse().ok().map(Some),
            };
            let kind = match kind {
                "b" => Kind::Block,
                "c" => Kind::Char,
                // "a *:* rwm": allowed by default, exceptions not listed.
                _ => return None,
            };
            let access = access.chars().fold(0, |all, letter| {
                all | match letter {
                    'r' => READ,
                    'w' => WRITE,
                    'm' => MKNOD,
                    _ => 0,
                }
            });
            let exception =
                Exception { kind, major: number(major)?, minor: number(minor)?, access };
            list.exceptions.push(exception);
        }
        Some(list)
    }

    /// The writes that make a cgroup's list this one, from whatever it is.
    pub(crate) fn settings(&self, sink: &mut Sink) {
        let (reset, other) = self.files();
        sink.set(PROPERTY, reset, "a");
        for exception in &self.exceptions {
            sink.set(PROPERTY, other, exception.text());
        }
    }

    /// The writes that turn a known list into this one without a moment in
    /// which a device that both allow is refused.
    pub(crate) fn changes(&self, from: &Self, sink: &mut Sink) {
        if self.allow || from.allow {
            return self.settings(sink);
        }
        for new in self.exceptions.iter().filter(|new| !from.exceptions.contains(new)) {
            sink.set(PROPERTY, "devices.allow", new.text());
        }
        for old in &from.exceptions {
            let kept = self.exceptions.iter().find(|new| new.same_devices(old));
            let gone = Exception { access: old.access & !kept.map_or(0, |new| new.access), ..*old };
            if gone.access != 0 {
                sink.set(PROPERTY, "devices.deny", gone.text());
            }
        }
    }

    /// The exceptions as systemd's DeviceAllow= takes them (systemd.resource-control(5)), with
    /// the names of `/proc/devices`; `None` where everything is allowed by default.
    ///
    /// A major number that has no name is left out: systemd cannot be told of it.
    pub(crate) fn allowed(&self, proc_devices: &str) -> Option<Vec<(String, String)>> {
        if self.allow {
            return None;
        }
        let exceptions = self.exceptions.iter().filter_map(|exception| {
            let class = if exception.kind == Kind::Block { "block" } else { "char" };
            let node = match (exception.major, exception.minor) {
                (None, _) => format!("{class}-*"),
                (Some(major), Some(minor)) => format!("/dev/{class}/{major}:{minor}"),
                (Some(major), None) => {
                    format!("{class}-{}", name(proc_devices, exception.kind, major)?)
                }
            };
            let text = exception.text();
            Some((node, text.rsplit(' ').next().unwrap_or_default().to_owned()))
        });
        Some(exceptions.collect())
    }

    /// Whether it has exceptions that the kernel does not list and systemd does not know.
    pub(crate) fn hides_exceptions(&self) -> bool {
        self.allow && !self.exceptions.is_empty()
    }

    fn files(&self) -> (&'static str, &'static str) {
        match self.allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        }
    }
}

/// The name that a driver has registered a major number under.
fn name(proc_devices: &str, kind: Kind, major: u32) -> Option<&str> {
    let heading = if kind == Kind::Block { "Block devices:" } else { "Character devices:" };
    let lines = proc_devices.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.trim().split_once(' '))
        .find(|(number, _)| number.parse() == Ok(major))
        .map(|(_, name)| name)
}

impl Exception {
    fn same_devices(&self, other: &Self) -> bool {
        Self { access: ALL, ..*self } == Self { access: ALL, ..*other }
    }

    /// The form that `devices.allow` and `devices.deny` take.
    fn text(&self) -> String {
        let number = |number: Option<u32>| {
            number.map_or_else(|| "*".to_owned(), |number| number.to_string())
        };
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        let mut text = format!("{kind} {}:{} ", number(self.major), number(self.minor));
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                let _ = text.write_char(letter);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::parse;

    fn list(json: &str) -> Result<List, Error> {
        List::new(&parse(&serde_json::from_str::<Vec<_>>(json).unwrap()).unwrap())
    }

    fn has(list: &List, text: &str) -> bool {
        list.exceptions.iter().any(|exception| exception.text() == text)
    }

    #[test]
    fn nothing_is_allowed_but_the_defaults_and_what_is_named() {
        // GHSA-g54h-m393-cpwq: a list without a leading deny-all denied nothing.
        let list = list(r#"[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#);
        let list = list.unwrap();
        assert!(!list.allow);
        assert!(has(&list, "c 10:229 rw") && has(&list, "c 1:3 rwm") && has(&list, "b *:* m"));
        assert_eq!(list.exceptions.len(), 12);
    }

    #[test]
    fn a_later_rule_overrides_an_earlier_one() {
        let list = list(
            r#"[{"allow":true},{"allow":false},{"allow":true,"type":"b","major":8,"access":"rw"},
                {"allow":false,"type":"b","major":8,"access":"w"}]"#,
        )
        .unwrap();
        assert!(!list.allow && has(&list, "b 8:* r"));
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused() {
        let error = list(
            r#"[{"allow":true,"type":"b","major":8,"access":"rw"},
                {"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]"#,
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "linux.resources.devices[1]: b 8:1 w: cgroup v1 cannot except it from the earlier \
             rule for b 8:* rw"
        );
    }

    #[test]
    fn what_systemd_is_told() {
        const TABLE: &str =
            "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 other\n";
        let list = list(r#"[{"allow":true,"type":"b","major":8,"access":"r"}]"#).unwrap();
        let told = list.allowed(TABLE).unwrap();
        let has = |node: &str, access: &str| told.contains(&(node.to_owned(), access.to_owned()));
        assert!(has("block-sd", "r") && has("char-pts", "rwm"), "{told:?}");
        assert!(has("/dev/char/1:3", "rwm") && has("char-*", "m") && has("block-*", "m"));
        assert_eq!(List { allow: true, exceptions: Vec::new() }.allowed(TABLE), None);
    }

    #[test]
    fn everything_but_one() {
        let list = list(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"rwm"}]"#)
            .unwrap();
        assert!(list.allow && list.hides_exceptions());
        assert_eq!(list.exceptions.len(), 1);
    }
}
