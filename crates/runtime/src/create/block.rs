//! Holding a program back until its caller is ready, `run --block-fd`: what is made beside
//! the container, such as its network, need not be there before the container is begun.

use std::fs::File;
use std::io::{ErrorKind, Read};

use crate::report::{Code, Error, Result};

/// A descriptor of the caller's, as a rule a pipe's reading end.
#[derive(Debug)]
pub struct Block {
    number: u32,
    file: File,
}

impl Block {
    /// Opens it once more, closed on exec.
    pub fn open(number: u32) -> Result<Self> {
        let failed = |error| Error::io(Code::Usage, object(number), &error);
        File::open(format!("/proc/self/fd/{number}"))
            .map(|file| Self { number, file })
            .map_err(failed)
    }

    /// Waits for a byte. An end without one means that the caller has failed or is gone.
    pub fn wait(&self) -> Result<()> {
        (&self.file).read_exact(&mut [0]).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                let end = "it ended before there was a byte to read";
                Error::new(Code::Kernel, object(self.number), end)
            }
            _ => Error::io(Code::Kernel, object(self.number), &error),
        })
    }
}

fn object(number: u32) -> String {
    format!("--block-fd ({number})")
}
