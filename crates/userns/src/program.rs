//! Programs of the host that Husk executes, by their names.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The program `name` in the directories of PATH that are absolute: a relative one, or an empty
/// entry, is a place that whoever may write to the working directory decides about.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH").unwrap_or_default(), name)
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let absolute = std::env::split_paths(path).filter(|directory| directory.is_absolute());
    let is_program = |candidate: &PathBuf| {
        std::fs::metadata(candidate)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    absolute.map(|directory| directory.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_directories_are_passed_over() {
        assert_eq!(find_in(OsStr::new("/bin:.:/usr/bin"), "sh"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find_in(OsStr::new(".:::../../../../../bin"), "sh"), None);
        assert_eq!(find_in(OsStr::new("/"), "bin"), None, "a directory");
    }
}
