//! Signals by name and number, signal(7).

const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// First and last real-time signal as glibc numbers them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `TERM`, `SIGTERM`, `15` or `RTMIN+3`.
pub fn number(text: &str) -> Option<i32> {
    match text.parse::<i32>() {
        Ok(number) => Some(number).filter(|number| (1..=RTMAX).contains(number)),
        Err(_) => by_name(text),
    }
}

/// The name of a signal, without `SIG`; `None` for real-time signals and for what is none.
pub fn name(number: i32) -> Option<&'static str> {
    NAMES.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

fn by_name(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN + offset_of(offset, '+')?
    } else {
        RTMAX - offset_of(name.strip_prefix("RTMAX")?, '-')?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

fn offset_of(text: &str, sign: char) -> Option<i32> {
    match text {
        "" => Some(0),
        _ => text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(number(text), Some(15), "{text}");
        }
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("RTMAX-14"), Some(50));
        for bad in ["", "0", "65", "-9", "NOPE", "RTMIN+31", "RTMAX+1", "SIG"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
