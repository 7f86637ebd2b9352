//! Layers and scratch directories for the tests.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("husk-image-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn open(&self, name: &str) -> OwnedFd {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::File::open(path).unwrap().into()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes headers as they are asked for, however wrong.
#[derive(Default)]
pub(crate) struct LayerBuilder {
    bytes: Vec<u8>,
}

/// One entry; `Entry::file("a", b"x")` and then what differs.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u8,
    pub(crate) link: String,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: u64,
    pub(crate) size: Option<u64>,
    pub(crate) device: (u32, u32),
    pub(crate) data: Vec<u8>,
    pub(crate) pax: Vec<(String, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn new(kind: u8, name: &str) -> Entry {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Entry {
            name: name.as_bytes().to_vec(),
            kind,
            link: String::new(),
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            size: None,
            device: (0, 0),
            data: Vec::new(),
            pax: Vec::new(),
        }
    }

    pub(crate) fn file(name: &str, data: &[u8]) -> Entry {
        Entry { data: data.to_vec(), ..Entry::new(b'0', name) }
    }

    pub(crate) fn dir(name: &str) -> Entry {
        Entry::new(b'5', name)
    }

    pub(crate) fn link(kind: u8, name: &str, target: &str) -> Entry {
        Entry { link: target.to_owned(), mode: 0o777, ..Entry::new(kind, name) }
    }

    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Entry {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}

impl LayerBuilder {
    pub(crate) fn of(entries: &[Entry]) -> Vec<u8> {
        let mut builder = LayerBuilder::default();
        for entry in entries {
            builder.add(entry);
        }
        builder.finish()
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        if !entry.pax.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &entry.pax {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length != rest + length.to_string().len() {
                    length += 1;
                }
                write!(body, "{length} {key}=").unwrap();
                body.extend_from_slice(value);
                body.push(b'\n');
            }
            self.header(&Entry { data: body, ..Entry::new(b'x', "PaxHeaders/x") });
        }
        self.header(entry);
    }

    fn header(&mut self, entry: &Entry) {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &entry.name[..entry.name.len().min(100)]);
        put(100, format!("{:07o}\0", entry.mode).as_bytes());
        put(108, format!("{:07o}\0", entry.uid & 0o7_777_777).as_bytes());
        put(116, format!("{:07o}\0", entry.gid & 0o7_777_777).as_bytes());
        let size = entry.size.unwrap_or(entry.data.len() as u64);
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, format!("{:011o}\0", entry.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[entry.kind]);
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", entry.device.0).as_bytes());
        put(337, format!("{:07o}\0", entry.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
        self.bytes.extend_from_slice(&entry.data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// Says why a test does nothing, and whether it must.
pub(crate) fn without_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(std::io::stderr(), "skipped: {test}: needs root");
    }
    !root
}
