//! `cp` and `export`.

use std::io::{BufReader, BufWriter, IsTerminal};

use clap::Args;

use super::output;
use crate::error::{Error, Result, file};
use crate::progress::Notices;
use husk_engine::container::Container;
use husk_engine::files::{self, CopyRequest};
use husk_engine::home::Home;
use husk_engine::notice;

/// `cp`.
#[derive(Debug, Args)]
pub(super) struct Cp {
    /// Keep owners, set-user-id and extended attributes
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not say how much was copied
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path, or - for a tar on standard input
    source: String,
    /// CONTAINER:PATH, a path, or - for a tar on standard output
    destination: String,
}

/// What an argument means.
enum Place<'a> {
    Stream,
    Local(&'a str),
    Container(&'a str, &'a str),
}

/// As Docker's: what is absolute or begins with a dot is a path, whatever colons it has.
fn place(text: &str) -> Place<'_> {
    match text.split_once(':') {
        _ if text == "-" => Place::Stream,
        Some((container, path)) if !text.starts_with(['/', '.']) && !container.is_empty() => {
            Place::Container(container, path)
        }
        _ => Place::Local(text),
    }
}

impl Cp {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let find = |name: &str| Container::find(home, name);
        let request = CopyRequest { archive: self.archive, follow_link: self.follow_link };
        match (place(&self.source), place(&self.destination)) {
            (Place::Container(from, path), Place::Stream) => {
                if std::io::stdout().is_terminal() {
                    return Err(Error::other("standard output is a terminal: send it to a file"));
                }
                let out = BufWriter::new(std::io::stdout().lock());
                files::archive(home, &find(from)?, path, self.follow_link, out, &Notices)?;
            }
            (Place::Stream, Place::Container(to, path)) => {
                let input = BufReader::new(std::io::stdin());
                files::extract(home, &find(to)?, path, input, "standard input")?;
            }
            (Place::Container(from, source), Place::Local(target)) => {
                let paths = (source, target);
                let bytes = files::copy_from(home, &find(from)?, paths, request, &Notices)?;
                self.say_copied(bytes, target);
            }
            (Place::Local(source), Place::Container(to, target)) => {
                let paths = (source, target);
                let bytes = files::copy_to(home, &find(to)?, paths, request, &Notices)?;
                self.say_copied(bytes, &format!("{to}:{target}"));
            }
            (Place::Container(..), Place::Container(..)) => {
                return Err(Error::other(
                    "copying between containers is not supported: copy to the local file system \
                     first",
                ));
            }
            _ => return Err(Error::other("one of the two must be CONTAINER:PATH")),
        }
        Ok(0)
    }

    fn say_copied(&self, bytes: u64, target: &str) {
        if !self.quiet && std::io::stderr().is_terminal() {
            notice::line(format_args!("copied {} to {target}", output::size(bytes)));
        }
    }
}

/// `export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<String>,
    /// Name or ID
    container: String,
}

impl Export {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let container = Container::find(home, &self.container)?;
        let Some(path) = &self.output else {
            if std::io::stdout().is_terminal() {
                return Err(Error::other(
                    "refusing to write an archive to a terminal: use -o FILE",
                ));
            }
            let out = BufWriter::new(std::io::stdout().lock());
            return Ok(files::export(home, &container, out, &Notices).map(|()| 0)?);
        };
        let created = std::fs::File::create(path).map_err(file("create", path))?;
        let done = files::export(home, &container, BufWriter::new(created), &Notices);
        if done.is_err() {
            // Half a tar is none.
            let _ = std::fs::remove_file(path);
        }
        Ok(done.map(|()| 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons() {
        assert!(matches!(place("-"), Place::Stream));
        assert!(matches!(place("web:/x"), Place::Container("web", "/x")));
        assert!(matches!(place("./web:/x"), Place::Local(_)));
        assert!(matches!(place("/web:/x"), Place::Local(_)));
        assert!(matches!(place("web"), Place::Local(_)));
    }
}
