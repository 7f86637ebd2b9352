//! The phases as bars on one scale of time.

use std::fmt::Write;

use super::{Lap, Phase, Process};

/// Columns of the scale.
const WIDTH: u64 = 48;

/// The program's own time is told but not drawn: it would leave no room for the rest.
pub(super) fn draw(command: &str, begin: u64, end: u64, laps: &[Lap]) -> String {
    let program = laps.iter().find(|lap| lap.phase == Phase::Program);
    let skipped = program.map_or(0, |lap| lap.end - lap.start);
    let drawn = |moment: u64| {
        let after = program.is_some_and(|lap| moment >= lap.end);
        moment.saturating_sub(begin).saturating_sub(if after { skipped } else { 0 })
    };
    let total = drawn(end).max(1);
    let column = |moment: u64| drawn(moment) * WIDTH / total;
    let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;

    let mut laps: Vec<&Lap> = laps.iter().collect();
    laps.sort_by_key(|lap| (lap.start, lap.end));
    let mut text = String::new();
    let _ = writeln!(
        text,
        "husk-oci {command}: {:.3} ms{}",
        milliseconds(total),
        if skipped > 0 { " without the program" } else { "" }
    );
    for lap in laps {
        let indent = match lap.phase.process() {
            Process::Runtime => "",
            Process::Container => "  ",
        };
        let (from, to) = (column(lap.start), column(lap.end));
        let bar = match lap.phase {
            Phase::Program => ":".to_owned(),
            _ => "#".repeat((to - from).max(1) as usize),
        };
        let name = format!("{indent}{}", lap.phase.name());
        let length = milliseconds(lap.end - lap.start);
        let _ = writeln!(text, "{name:<20} {length:>9.3} |{}{bar}", " ".repeat(from as usize));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_takes_no_room() {
        let lap =
            |phase, start: u64, end: u64| Lap { phase, start: start * 1_000, end: end * 1_000 };
        let laps = [
            lap(Phase::Read, 0, 480),
            lap(Phase::Exec, 480, 2_400),
            lap(Phase::Program, 2_400, 9_002_400),
            lap(Phase::Remove, 9_002_400, 9_004_800),
            lap(Phase::Mounts, 480, 1_440),
        ];
        let expected = format!(
            "husk-oci run: 4.800 ms without the program\n\
             read                     0.480 |{}\n\
             \x20 mounts                 0.960 |{}{}\n\
             execve                   1.920 |{}{}\n\
             program               9000.000 |{}:\n\
             remove                   2.400 |{}{}\n",
            "#".repeat(4),
            " ".repeat(4),
            "#".repeat(10),
            " ".repeat(4),
            "#".repeat(20),
            " ".repeat(24),
            " ".repeat(24),
            "#".repeat(24),
        );
        assert_eq!(draw("run", 0, 9_004_800_000, &laps), expected);
    }
}
