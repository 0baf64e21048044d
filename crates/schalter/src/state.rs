//! The state directory: what Schalter generates at its first start and keeps for the next.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schalter_durable::{System, create, make_folder, replace};

use crate::Failure;

/// A folder that only its owner can read.
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the configured folder, or the one of this user (`$STATE_DIRECTORY` of systemd, `$XDG_STATE_HOME`,
    /// `~/.local/state`).
    pub(crate) fn open(configured: Option<&Path>) -> Result<Self, Failure> {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let path = configured
            .map(Path::to_path_buf)
            .or_else(|| variable("STATE_DIRECTORY"))
            .or_else(|| variable("XDG_STATE_HOME").map(|base| base.join("schalter")))
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/schalter")))
            .ok_or_else(|| {
                Failure::setup("no place for generated keys: set state_dir in the configuration")
            })?;
        make_folder(&System, &path)
            .map_err(|error| Failure::setup(format!("state_dir {}: {error}", path.display())))?;
        Ok(Self { path })
    }

    /// The content of a file, made by `make` at the first time.
    pub(crate) fn file_or(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<String, Failure> {
        let path = self.path.join(name);
        let complain =
            |error: std::io::Error| Failure::setup(format!("{}: {error}", path.display()));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = make()?;
                if create(&System, &path, text.as_bytes()).map_err(complain)? {
                    return Ok(text);
                }
                // Another start was faster.
                fs::read_to_string(&path).map_err(complain)
            }
            Err(error) => Err(complain(error)),
        }
    }

    /// The content of a file, if it is there.
    pub(crate) fn read(&self, name: &str) -> std::io::Result<Option<String>> {
        match fs::read_to_string(self.path.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file anew; a crash leaves the old one or the new one.
    pub(crate) fn replace(&self, name: &str, text: &str) -> std::io::Result<()> {
        replace(&System, &self.path.join(name), text.as_bytes()).map(drop)
    }

    /// The path of a file or folder in it, which need not be there.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A random secret of `bytes` bytes, as text for URLs and headers.
pub(crate) fn random_secret(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    rand::fill(&mut buffer[..]);
    URL_SAFE_NO_PAD.encode(buffer)
}
