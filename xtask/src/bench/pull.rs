//! An image of three layers, some 300 MB compressed, pulled from a registry on loopback and
//! unpacked by `husk` and by podman, in interleaved rounds.
//!
//! Each pull has a storage directory of its own, and all stay until the end: ext4 passes
//! over inodes that were freed in the last seconds, which would slow whoever comes next.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::engine::Subject;
use super::floor;
use super::statistics::Summary;
use crate::process::{self, Words};
use crate::release;
use crate::scratch::Scratch;
use crate::{debian, interrupt};

/// Bytes of each layer before compression; some three fifths of them cannot be compressed.
const LAYERS: [usize; 3] = [240 << 20, 160 << 20, 80 << 20];
/// A peer that needs longer for a pull hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Debian's docker-registry; it ends with this.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(scratch: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let config = scratch.join("registry.yml");
        let root = scratch.join("registry").display().to_string();
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root:?}}}}}\nhttp: {{addr: {address}}}\n"
        );
        fs::write(&config, text)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("docker-registry (Debian package docker-registry)")?;
        let registry = Self { child, address };
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&registry.address).is_err() {
            if Instant::now() > end {
                bail!("docker-registry does not listen on {}", registry.address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measures and prints a table.
///
/// # Errors
/// The build fails, docker-registry is missing, or the first pull of all fails.
pub(super) fn measure(rounds: usize) -> anyhow::Result<()> {
    interrupt::note()?;
    debian::provide(debian::PULL);
    let mut built = release::programs(&["husk-runtime", "husk-cli"])?.0;
    let husk = built.remove("husk").context("package husk-cli has no program husk")?;
    let scratch = Scratch::new("bench-pull")?;
    let peak = floor::compile("peak", scratch.path())?;
    let registry = Registry::start(scratch.path())?;
    let image = format!("{}/bench:1", registry.address);
    publish(&Subject::new("maker", husk.clone(), scratch.path()), scratch.path(), &image)?;
    let compressed = size_below(&scratch.path().join("registry"))?;

    let mut programs = vec![("husk", husk)];
    programs.extend(process::find("podman").map(|path| ("podman", path)));
    let mut samples = vec![(Vec::new(), 0_u64); programs.len()];
    let mut used = Vec::new();
    for round in 0..rounds {
        for turn in 0..programs.len() {
            interrupt::check()?;
            let who = (round + turn) % programs.len();
            let (name, program) = &programs[who];
            let own = scratch.path().join(format!("{name}{round}"));
            fs::create_dir(&own)?;
            let subject = Subject::new(name, program.clone(), &own);
            // What the one before has written is the disk's by now, and not on our time.
            rustix::fs::sync();
            let (time, memory) = pull(&peak, &subject, &image)?;
            samples[who].0.push(time);
            samples[who].1 = samples[who].1.max(memory);
            used.push(subject);
        }
    }
    println!(
        "an image of {} MB, {} MB compressed",
        LAYERS.iter().sum::<usize>() >> 20,
        compressed >> 20
    );
    print(&programs.iter().map(|(name, _)| *name).zip(samples).collect::<Vec<_>>())?;
    for podman in used.iter().filter(|subject| subject.name == "podman") {
        // Its storage may be mounted on itself.
        let _ = podman.output(&["system", "reset", "--force"]);
    }
    Ok(())
}

/// One pull: its time, and the peak of its resident memory in KiB.
fn pull(peak: &Path, subject: &Subject, image: &str) -> anyhow::Result<(Duration, u64)> {
    let inner = subject.call(&["pull", "--quiet", "--tls-verify=false", image]);
    let (mut printed, mut words) = (Words::new()?, Words::new()?);
    let mut command = Command::new(peak);
    command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    command.stdout(printed.stdio()?).stderr(words.stdio()?);
    let outcome = process::run_within(&mut command, DEADLINE)?;
    super::peer::judge(&outcome, &mut words).with_context(|| format!("{} pull", subject.name))?;
    Ok((outcome.time, printed.take().trim().parse().context("peak")?))
}

/// Builds the image, half of noise and half of words, and pushes it.
fn publish(maker: &Subject, scratch: &Path, image: &str) -> anyhow::Result<()> {
    let context = scratch.join("context");
    let mut dockerfile = "FROM scratch\n".to_owned();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for (number, bytes) in LAYERS.into_iter().enumerate() {
        let layer = context.join(format!("layer{number}"));
        noise.files(&layer, bytes)?;
        dockerfile.push_str(&format!("COPY layer{number} /layer{number}\n"));
    }
    fs::write(context.join("Dockerfile"), dockerfile)?;
    maker.output(&["build", "--quiet", "--tag", image, &context.display().to_string()])?;
    maker.output(&["push", "--quiet", "--tls-verify=false", image])?;
    Ok(fs::remove_dir_all(&context)?)
}

/// Bytes of all files below `directory`.
fn size_below(directory: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let (path, meta) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        total += if meta.is_dir() { size_below(&path)? } else { meta.len() };
    }
    Ok(total)
}

/// xorshift: the same files each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Files of 512 bytes to 2 MB, fifty a directory, until there are `total` bytes.
    fn files(&mut self, layer: &Path, total: usize) -> anyhow::Result<()> {
        let (mut written, mut number) = (0, 0);
        while written < total {
            let directory = layer.join(format!("d{}", number / 50));
            fs::create_dir_all(&directory)?;
            let size = 512 << (self.next() % 13);
            let mut file = Vec::with_capacity(size + 16);
            while file.len() < size / 2 {
                file.extend(self.next().to_le_bytes());
            }
            while file.len() < size {
                write!(file, "word{:x} ", self.next() % 4096)?;
            }
            File::create(directory.join(format!("f{number}")))?.write_all(&file)?;
            written += file.len();
            number += 1;
        }
        Ok(())
    }
}

fn print(samples: &[(&str, (Vec<Duration>, u64))]) -> anyhow::Result<()> {
    let summary = |times: &[Duration]| Summary::of(times).context("no rounds");
    let subject = summary(&samples[0].1.0)?.median;
    println!("| engine | pull, s: least | median | greatest | of husk's | peak memory, MB |");
    println!("|---|---|---|---|---|---|");
    for (name, (times, memory)) in samples {
        let found = summary(times)?;
        let [least, median, greatest] =
            [found.min, found.median, found.max].map(|us| format!("{:.2}", us / 1e6));
        let ratio = found.median / subject;
        let memory = memory.div_ceil(1024);
        println!("| {name} | {least} | {median} | {greatest} | {ratio:.2} | {memory} |");
    }
    Ok(())
}
