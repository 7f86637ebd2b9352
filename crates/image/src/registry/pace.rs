//! The least speed of a transfer.
//!
//! A limit for each read is none for the whole: a registry that sends a byte within each of
//! them would hold a transfer without end.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Fewest bytes a second, on average over a period.
const LEAST: u64 = 1 << 10;

/// A transfer was slower than that, over so many seconds.
#[derive(Debug, thiserror::Error)]
#[error("less than {LEAST} bytes a second over {0} s")]
pub(super) struct TooSlow(u64);

/// Watches one transfer.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// Judges the speed over each `period`.
    pub(super) fn new(period: Duration) -> Pace {
        Pace { period, begun: Instant::now(), bytes: 0 }
    }

    /// So many bytes more have been transferred.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] where it was too slow.
    pub(super) fn moved(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes += bytes as u64;
        let elapsed = self.begun.elapsed();
        if elapsed < self.period {
            return Ok(());
        }
        let wanted = LEAST.saturating_mul(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        if self.bytes < wanted / 1000 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, TooSlow(elapsed.as_secs())));
        }
        *self = Pace::new(self.period);
        Ok(())
    }
}

/// A reader whose source must keep the pace.
pub(super) struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R: Read> Paced<R> {
    pub(super) fn new(inner: R, period: Duration) -> Paced<R> {
        Paced { inner, pace: Pace::new(period) }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        // The end is no standstill.
        if read > 0 {
            self.pace.moved(read)?;
        }
        Ok(read)
    }
}
