//! Two containers at once by the library alone: each thread creates one, starts it, follows its
//! log, waits for its end and removes it.
//!
//! `two_threads DIRECTORY`: the engine's directories are made there. The program is its own
//! monitor, as `husk` is; `husk-oci` is looked for beside it and in PATH.

use std::path::Path;

use husk_engine::container::{self, request::ContainerRequest};
use husk_engine::error::{Error, Result};
use husk_engine::home::Home;
use husk_engine::launch::{self, StartRequest};
use husk_engine::logs::{self, LogRequest};
use husk_engine::remove::{RemoveRequest, remove_container};
use husk_engine::reporter::Silent;
use husk_engine::{monitor, stop};
use husk_net::Attachment;

/// What the program of the container writes, and its exit status.
fn run(home: &Home, name: &str, script: &str) -> Result<(String, i32)> {
    let request = ContainerRequest {
        name: name.to_owned(),
        // The root of this machine, below an overlay.
        image: "host".to_owned(),
        cmd: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        networks: vec![Attachment { network: "none".to_owned(), ..Attachment::default() }],
        ..ContainerRequest::default()
    };
    let container = container::create(home, &request, &Silent)?;
    launch::start(home, &container, &StartRequest::default(), &mut drop)?;
    let mut output = String::new();
    let follow = LogRequest { follow: true, ..LogRequest::default() };
    logs::read(&container, &follow, &mut |piece| {
        output.push_str(&piece.text);
        Ok(())
    })?;
    let status = stop::wait(&container)?;
    remove_container(home, &container, &RemoveRequest::default())?;
    Ok((output, status))
}

fn main() -> Result<()> {
    // Monitors are this program, too.
    if let Some(ended) = monitor::run_if_called(std::env::args_os()) {
        return ended;
    }
    let directory = std::env::args_os().nth(1).ok_or_else(|| Error::other("no directory given"))?;
    let directory = Path::new(&directory);
    let home = Home { root: directory.join("root"), run: directory.join("run") };
    let scripts = [("one", "echo first; sleep 0.2; echo last; exit 3"), ("two", "echo two")];
    let (umask, cwd) = (umask(), std::env::current_dir());
    let ended: Vec<Result<(String, i32)>> = std::thread::scope(|scope| {
        let home = &home;
        let threads = scripts.map(|(name, script)| scope.spawn(move || run(home, name, script)));
        let panicked = |_| Err(Error::other("a thread has panicked"));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
    });
    for ((name, _), ended) in scripts.into_iter().zip(ended) {
        let (output, status) = ended?;
        println!("{name}: {output:?}, exit status {status}");
    }
    // No child is left, not even a zombie, and what belongs to the whole process is as it was.
    let no_child = rustix::process::wait(rustix::process::WaitOptions::NOHANG).is_err();
    let unchanged = umask == self::umask() && cwd.ok() == std::env::current_dir().ok();
    match no_child && unchanged {
        true => Ok(()),
        false => Err(Error::other("the library has left something behind")),
    }
}

/// proc_pid_status(5): umask(2) would change it.
fn umask() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Umask:")).map(str::to_owned)
}
