//! The image: built once, kept in the user's cache.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::recipe;
use crate::{debian, process};

/// Where the parts of a machine that do not change are.
pub(super) struct Image {
    /// The kernel.
    pub(super) kernel: PathBuf,
    /// The root filesystem, ext4.
    pub(super) root: PathBuf,
}

/// The image of this recipe, built now if it is not in the cache.
///
/// # Errors
/// A step fails; what it was building is removed.
pub(super) fn provide() -> anyhow::Result<Image> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("the virtual machine is made for x86-64");
    }
    let package = kernel_package()?;
    let directory = cache()?.join(recipe::digest(&package));
    if !directory.exists() {
        if !process::is_root() {
            bail!("no image yet, and only root can build it: sudo -E cargo xtask vm");
        }
        let partial = directory.with_extension(format!("partial-{}", std::process::id()));
        fs::create_dir_all(&partial).with_context(|| format!("mkdir {}", partial.display()))?;
        let built = build(&partial, &package);
        let moved = built.and_then(|()| fs::rename(&partial, &directory).context("rename"));
        if moved.is_err() {
            let _ = fs::remove_dir_all(&partial);
        }
        moved?;
    }
    Ok(Image { kernel: directory.join("vmlinuz"), root: directory.join("root.ext4") })
}

/// `$XDG_CACHE_HOME/husk-vm`.
fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("husk-vm"))
}

/// The package that the kernel's metapackage stands for today.
fn kernel_package() -> anyhow::Result<String> {
    let depends = || process::output(Command::new("apt-cache").args(["depends", recipe::KERNEL]));
    let text = match depends() {
        Ok(text) if text.contains("Depends:") => text,
        // A bare machine has no lists of packages yet.
        _ => {
            process::output(Command::new("apt-get").args(["--quiet", "update"]))?;
            depends()?
        }
    };
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Depends:"))
        .map(|name| name.trim().to_owned())
        .with_context(|| format!("apt-cache depends {} names no kernel", recipe::KERNEL))
}

fn build(directory: &Path, package: &str) -> anyhow::Result<()> {
    let root = directory.join("root");
    eprintln!("==> debootstrap {} (once; some minutes)", recipe::RELEASE);
    process::output(
        Command::new("debootstrap")
            .args(["--variant=minbase", "--include"])
            .arg(recipe::PACKAGES.join(","))
            .arg(recipe::RELEASE)
            .arg(&root)
            .args(debian::mirror()),
    )
    .with_context(|| format!("see {}/debootstrap/debootstrap.log", root.display()))?;
    eprintln!("==> {package}");
    install_kernel(directory, &root, package)?;
    configure(&root)?;
    eprintln!("==> root.ext4");
    make_disk(&directory.join("root.ext4"), &root, "2G")?;
    fs::remove_dir_all(&root).context("rm root")
}

/// Takes the kernel and its modules out of the package; nothing is installed on the host.
fn install_kernel(directory: &Path, root: &Path, package: &str) -> anyhow::Result<()> {
    process::output(Command::new("apt-get").args(["download", package]).current_dir(directory))?;
    let archive = fs::read_dir(directory)
        .context("cache")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get download {package} left no file"))?;
    let unpacked = directory.join("kernel");
    process::output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&unpacked))?;
    let version = package.trim_start_matches("linux-image-");
    fs::copy(unpacked.join(format!("boot/vmlinuz-{version}")), directory.join("vmlinuz"))
        .context("vmlinuz")?;
    let modules = root.join("lib/modules");
    fs::create_dir_all(&modules).context("mkdir lib/modules")?;
    process::output(
        Command::new("cp").arg("-a").arg(unpacked.join("lib/modules").join(version)).arg(&modules),
    )?;
    process::output(Command::new("depmod").arg("-b").arg(root).arg(version))?;
    fs::remove_file(&archive).context("rm")?;
    fs::remove_dir_all(&unpacked).context("rm")
}

fn configure(root: &Path) -> anyhow::Result<()> {
    for (path, mode, text) in recipe::FILES {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("mkdir {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).context("chmod")?;
    }
    let units = root.join("etc/systemd/system");
    for unit in recipe::MASKED {
        let link = units.join(unit);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", &link).with_context(|| link.display().to_string())?;
    }
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted).context("mkdir")?;
    symlink("../husk-vm.service", wanted.join("husk-vm.service")).context("symlink")?;
    let _ = fs::remove_file(units.join("default.target"));
    symlink("/lib/systemd/system/multi-user.target", units.join("default.target"))
        .context("symlink")?;
    process::output(
        Command::new("chroot")
            .arg(root)
            .args(["useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash"])
            .arg(recipe::USER),
    )?;
    // useradd has given ids of its own choosing by now; the recipe's are the ones.
    for (path, _, text) in recipe::FILES.iter().filter(|(path, ..)| path.starts_with("etc/sub")) {
        fs::write(root.join(path), text).with_context(|| (*path).to_owned())?;
    }
    Ok(())
}

/// Makes `file` an ext4 filesystem of `size` with the content of `directory`.
///
/// # Errors
/// The file cannot be made, or mke2fs fails.
pub(super) fn make_disk(file: &Path, directory: &Path, size: &str) -> anyhow::Result<()> {
    File::create(file).with_context(|| file.display().to_string())?;
    let mke2fs = process::find("mke2fs").context("mke2fs is missing (Debian package e2fsprogs)")?;
    process::output(
        Command::new(mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-d"])
            .arg(directory)
            .arg(file)
            .arg(size),
    )?;
    Ok(())
}
