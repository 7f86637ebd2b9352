//! Sources of ADD that come from the network: they are fetched before the step's key is made,
//! which their content is a part of.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::BuildError;
use super::builder::Build;
use super::copy::{CopyError, Manner, Target};
use super::copy_step::Resolved;
use super::dockerfile::Word;
use super::git;
use super::layer_step::Scratch;
use super::remote::{Fetched, GitAddress, Remote, fetch};
use super::state::StageState;
use crate::digest::{Digest, clip};

/// A repository that was checked out.
pub(super) struct Repository {
    pub(super) root: OwnedFd,
    pub(super) directory: String,
    pub(super) commit: String,
}

impl Build<'_> {
    /// Fetches what a word names.
    pub(super) fn fetch<'c>(
        &self,
        state: &StageState,
        word: &'c Word,
        remote: &Remote,
        resolved: &mut Resolved<'c>,
    ) -> Result<(), BuildError> {
        let wrong = |message: String| self.wrong(word, message);
        let scratch = Scratch::new(self.store)?;
        let checksum = resolved.copy.checksum.as_ref();
        let checksum = match checksum {
            Some(word) => Some((word, self.expand(word, state)?)),
            None => None,
        };
        match remote {
            Remote::Url(url) => {
                let expected = match &checksum {
                    Some((word, text)) => Some((
                        *word,
                        text.parse::<Digest>().map_err(|e| self.wrong(word, e.to_string()))?,
                    )),
                    None => None,
                };
                let fetched = fetch(url, &scratch.0).map_err(wrong)?;
                if let Some((word, expected)) = expected
                    && fetched.digest != expected
                {
                    let message = format!("{} has the digest {}", clip(url), fetched.digest);
                    return Err(self.wrong(word, message));
                }
                resolved.fetched.push((word, fetched));
            }
            Remote::Git(address) => {
                let repository = self.check_out(address, &scratch, resolved.copy.keep_git_dir);
                let repository = repository.map_err(wrong)?;
                if let Some((word, expected)) = checksum
                    && !(expected.len() >= 7 && repository.commit.starts_with(&expected))
                {
                    let message =
                        format!("{} is at commit {}", clip(&address.url), repository.commit);
                    return Err(self.wrong(word, message));
                }
                resolved.repositories.push((word, repository));
            }
        }
        resolved.scratch.push(scratch);
        Ok(())
    }

    fn check_out(
        &self,
        address: &GitAddress,
        scratch: &Scratch,
        keep_git_dir: bool,
    ) -> Result<Repository, String> {
        let commit = git::checkout(address, &scratch.0, keep_git_dir)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &scratch.0, flags, Mode::empty())
            .map_err(|errno| format!("{}: {errno}", scratch.0.display()))?;
        Ok(Repository { root, directory: address.directory.clone(), commit })
    }

    /// Puts a fetched file in its place; `None` where it has no name there.
    pub(super) fn place_fetched(
        &self,
        target: &Target<'_>,
        fetched: &Fetched,
        destination: &str,
        manner: Manner,
    ) -> Result<Option<()>, CopyError> {
        let shown = fetched.name.clone().unwrap_or_default();
        let opened = File::open(&fetched.path).map_err(crate::tree::at("open", &shown))?;
        if manner.unpack {
            return target.unpack(&opened.into(), &shown, destination, manner.chown).map(Some);
        }
        let name = match (manner.into, &fetched.name) {
            (true, None) => return Ok(None),
            (true, Some(name)) => Some(name.as_str()),
            (false, _) => None,
        };
        let mut opened = opened;
        let time = Some(fetched.modified.unwrap_or(0));
        target.write(destination, name, &mut opened, 0o600, time).map(Some)
    }
}
