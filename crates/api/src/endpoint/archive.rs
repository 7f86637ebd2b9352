//! Files of a container: `archive` and `export`. Containers that do not run have files, too, with
//! their volumes mounted.

use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};

use base64::Engine as _;
use husk_engine::container::Container;
use husk_engine::error::file;
use husk_engine::view::View;
use husk_image::unpack::decompress::Decoder;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use rustix::fs::{AtFlags, FileType, OFlags, ResolveFlags, StatxFlags, readlinkat, statx};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::service::{Service, Shared};

const TAR: &str = "application/x-tar";
/// How much of a stream is passed on at once.
const PART: usize = 64 << 10;

/// `HEAD`, `GET` and `PUT /containers/{id}/archive`.
///
/// # Errors
/// A path that is not there.
pub(crate) async fn archive(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let path = call.query.text("path").map(str::to_owned);
    let path = path.ok_or_else(|| Failure::invalid("bad parameter: path is empty"))?;
    let container = service.find(id).await?;
    match call.method {
        Method::PUT => put(service, call, container, id, path).await,
        Method::HEAD => {
            let id = id.to_owned();
            let stat =
                service.blocking(move |service| stat(service, &container, &id, &path)).await?;
            let mut answer = reply::empty(StatusCode::OK);
            with_stat(&mut answer, &stat)?;
            Ok(answer)
        }
        _ => get(service, call, container, id, path).await,
    }
}

fn with_stat(answer: &mut Reply, stat: &Value) -> Result<()> {
    let failed = |error: String| Failure::internal(error);
    let text = serde_json::to_vec(stat).map_err(|error| failed(error.to_string()))?;
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let value = HeaderValue::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let name = HeaderName::from_static("x-docker-container-path-stat");
    answer.headers_mut().insert(name, value);
    Ok(())
}

fn missing(id: &str, path: &str) -> Failure {
    Failure::not_found(format!("Could not find the file {path} in container {id}"))
}

/// Opens a path in the container's files; a link at its end is not followed.
fn open(view: &View, path: &str, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    let flags = OFlags::PATH | OFlags::CLOEXEC | flags;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(view.root(), path, flags, rustix::fs::Mode::empty(), resolve)
}

/// What Docker tells of a path.
fn stat(service: &Service, container: &Container, id: &str, path: &str) -> Result<Value> {
    let view = View::open(&service.home, container, true)?;
    let follows = path.ends_with('/') || path.ends_with("/.");
    let flags = if follows { OFlags::DIRECTORY } else { OFlags::NOFOLLOW };
    let inode = match open(&view, path, flags) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing(id, path)),
        inode => inode.map_err(file("open the container's", path)).map_err(Failure::from)?,
    };
    describe(&inode, path)
}

fn describe(inode: &OwnedFd, path: &str) -> Result<Value> {
    let wanted = StatxFlags::BASIC_STATS;
    let stat = statx(inode.as_fd(), "", AtFlags::EMPTY_PATH, wanted)
        .map_err(file("look at the container's", path))?;
    let kind = FileType::from_raw_mode(u32::from(stat.stx_mode));
    let target = match kind {
        FileType::Symlink => readlinkat(inode.as_fd(), "", Vec::new())
            .map(|target| target.to_string_lossy().into_owned())
            .unwrap_or_default(),
        _ => String::new(),
    };
    let name = path.trim_end_matches("/.").trim_end_matches('/');
    let name = match name.rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    };
    let seconds = stat.stx_mtime.tv_sec.unsigned_abs();
    Ok(json!({
        "name": name,
        "size": stat.stx_size,
        "mode": go_mode(kind, u32::from(stat.stx_mode)),
        "mtime": husk_image::compose::rfc3339(seconds, stat.stx_mtime.tv_nsec),
        "linkTarget": target,
    }))
}

/// Bits of Go's `os.FileMode`.
fn go_mode(kind: FileType, mode: u32) -> u32 {
    let of_kind = match kind {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::CharacterDevice => (1 << 26) | (1 << 21),
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from != 0 { to } else { 0 };
    of_kind | (mode & 0o777) | bit(0o4000, 1 << 23) | bit(0o2000, 1 << 22) | bit(0o1000, 1 << 20)
}

async fn get(
    service: Shared,
    call: Call,
    container: Container,
    id: &str,
    path: String,
) -> Result<Reply> {
    let id = id.to_owned();
    let (stat, child) = service
        .blocking(move |service| {
            let stat = stat(service, &container, &id, &path)?;
            let mut command = service.husk();
            command.arg("cp").arg(format!("{}:{path}", container.id())).arg("-");
            Ok((stat, spawn(service, command)?))
        })
        .await?;
    let mut answer = output(child, &call);
    with_stat(&mut answer, &stat)?;
    Ok(answer)
}

/// `GET /containers/{id}/export`.
///
/// # Errors
/// A container that is not there.
pub(crate) async fn export(service: Shared, call: Call, id: &str) -> Result<Reply> {
    let container = service.find(id).await?;
    let child = service
        .blocking(move |service| {
            let mut command = service.husk();
            command.arg("export").arg(container.id());
            spawn(service, command)
        })
        .await?;
    Ok(output(child, &call))
}

fn spawn(service: &Service, mut command: std::process::Command) -> Result<Child> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn().map_err(file("execute", &service.program))?)
}

/// What a program prints as an answer. It ends with the client.
fn output(mut child: Child, call: &Call) -> Reply {
    let (sender, answer) = reply::stream(TAR, Box::new(call.active.clone()));
    let active = call.active.clone();
    tokio::task::spawn_blocking(move || {
        let _active = active;
        let mut stdout = child.stdout.take();
        let mut buffer = vec![0; PART];
        while let Some(from) = &mut stdout {
            match from.read(&mut buffer) {
                Ok(length @ 1..) => {
                    let part = buffer.get(..length).unwrap_or_default();
                    if sender.blocking_send(Ok(bytes::Bytes::copy_from_slice(part))).is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        drop(stdout);
        let ended = child.wait_with_output();
        if !ended.is_ok_and(|output| output.status.success()) {
            // The status is out: the client is told by an answer that breaks off.
            let _ = sender.blocking_send(Err(io::Error::other("the archive is not whole")));
        }
    });
    answer
}

async fn put(
    service: Shared,
    call: Call,
    container: Container,
    id: &str,
    path: String,
) -> Result<Reply> {
    let id = id.to_owned();
    let mut body = BufReader::new(call.reader());
    service
        .blocking(move |service| {
            let known =
                stat(service, &container, &id, &format!("{path}/.")).map_err(|failure| match stat(
                    service, &container, &id, &path,
                ) {
                    Ok(_) => Failure::invalid("extraction point is not a directory"),
                    Err(_) => failure,
                });
            if known.is_err_and(|failure| failure.status == StatusCode::BAD_REQUEST) {
                return Err(Failure::invalid("extraction point is not a directory"));
            }
            if stat(service, &container, &id, &path).is_err() {
                return Err(missing(&id, &path));
            }
            if container.record.config.read_only {
                return Err(Failure::forbidden("container rootfs is marked read-only"));
            }
            let unreadable =
                |error: io::Error| Failure::invalid(format!("read the archive: {error}"));
            let mut plain = Decoder::new(&mut body).map_err(unreadable)?;
            let mut command = service.husk();
            command.arg("cp").arg("-").arg(format!("{}:{path}", container.id()));
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(file("execute", &service.program))?;
            let copied = match child.stdin.take() {
                Some(mut stdin) => io::copy(&mut plain, &mut stdin),
                None => Ok(0),
            };
            if let Err(error) = copied
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                let _ = child.kill();
                let _ = child.wait();
                return Err(unreadable(error));
            }
            let ended = child.wait_with_output().map_err(file("wait for", &service.program))?;
            if ended.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.trim().trim_start_matches("husk: ").to_owned();
            match said.contains("Read-only file system") {
                true => Err(Failure::forbidden("mounted volume is marked read-only")),
                false => Err(Failure::invalid(said)),
            }
        })
        .await?;
    Ok(reply::empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(FileType::RegularFile, 0o100_644), 0o644);
        assert_eq!(go_mode(FileType::Directory, 0o041_777), (1 << 31) | (1 << 20) | 0o777);
        assert_eq!(go_mode(FileType::Symlink, 0o120_777), (1 << 27) | 0o777);
        assert_eq!(go_mode(FileType::RegularFile, 0o104_755), (1 << 23) | 0o755);
    }
}
