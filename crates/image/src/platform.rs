//! Which of an index's images is for this machine (image-spec "image-index.md").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system, an architecture and perhaps a variant, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Go's GOARCH: `amd64`, `arm64`, ...
    #[serde(default)]
    pub architecture: String,
    /// Go's GOOS: `linux`.
    #[serde(default)]
    pub os: String,
    /// The variant of the architecture: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Architectures that may stand alone, as with containerd; with an OS before it any may.
const KNOWN: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le",
    "riscv64", "s390x", "wasm",
];

/// Not `os/architecture[/variant]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("platform {0:?}: not os/architecture[/variant], as in linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// The platform that this program was built for.
    #[must_use]
    pub fn host() -> Platform {
        Platform::linux(std::env::consts::ARCH, None)
    }

    fn linux(architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, implied) = normal(architecture);
        let variant = variant.map(str::to_owned).or_else(|| implied.map(str::to_owned));
        Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), variant }
            .normalised()
    }

    fn normalised(mut self) -> Platform {
        let (architecture, implied) = normal(&self.architecture);
        if self.variant.is_none() {
            self.variant = implied.map(str::to_owned);
        }
        self.architecture = architecture.to_owned();
        // The baseline is written both ways in the wild: amd64/v1, arm64/v8.
        let baseline = match self.architecture.as_str() {
            "amd64" => Some("v1"),
            "arm64" => Some("v8"),
            _ => None,
        };
        if self.variant.as_deref() == baseline || self.variant.as_deref() == Some("") {
            self.variant = None;
        }
        self
    }

    /// How well an image for `offered` serves `self`: lower is better, `None` not at all.
    #[must_use]
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.clone().normalised(), offered.clone().normalised());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        let level = |platform: &Platform| {
            let variant = platform.variant.as_deref().unwrap_or(match &*platform.architecture {
                "arm" => "v7",
                "arm64" => "v8",
                _ => "v1",
            });
            variant.strip_prefix('v').and_then(|digits| digits.parse::<u32>().ok())
        };
        // A processor runs what was built for an older variant of it, never a newer one.
        level(&wanted)?.checked_sub(level(&offered)?)
    }
}

fn normal(architecture: &str) -> (&str, Option<&str>) {
    match architecture {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        "i386" | "x86" => ("386", None),
        "powerpc64" => ("ppc64le", None),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let bad = || PlatformError(crate::digest::clip(text));
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        };
        if !parts.iter().all(word) {
            return Err(bad());
        }
        let platform = match parts.as_slice() {
            ["linux"] => return Ok(Platform::host()),
            [architecture] if KNOWN.contains(&normal(architecture).0) => {
                return Ok(Platform::linux(architecture, None));
            }
            [_] => return Err(bad()),
            [os, architecture] => Platform {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: None,
            },
            [os, architecture, variant] => Platform {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: Some((*variant).to_owned()),
            },
            _ => return Err(bad()),
        };
        Ok(platform.normalised())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(wanted: &str, offered: &str) -> Option<u32> {
        wanted.parse::<Platform>().unwrap().rank(&offered.parse().unwrap())
    }

    #[test]
    fn a_processor_runs_older_variants_only() {
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/x86_64", "linux/amd64/v1"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/arm64"), None);
        assert_eq!(rank("linux/amd64", "unknown/unknown"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
    }

    #[test]
    fn platforms_are_parsed_and_shown() {
        assert_eq!("linux/aarch64".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        assert_eq!("arm64".parse::<Platform>().unwrap().to_string(), "linux/arm64");
        for bad in ["", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
