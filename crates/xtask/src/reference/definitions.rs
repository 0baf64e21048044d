//! What the protocol consists of, read from the definitions that the pinned `livekit-protocol` brings along.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::step::{Failure, cargo, output};

pub(super) struct Definitions {
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

impl Definitions {
    pub(super) fn read() -> Result<Self, Failure> {
        let text = output(&mut cargo(&[
            "metadata",
            "--format-version",
            "1",
            "--locked",
        ]))?;
        let metadata: Metadata =
            serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name == "livekit-protocol")
            .ok_or("livekit-protocol is no dependency")?;
        let folder = package
            .manifest_path
            .parent()
            .unwrap_or(Path::new("."))
            .join("protocol");
        Ok(Self { folder })
    }

    fn text(&self, file: &str) -> Result<String, Failure> {
        let path = self.folder.join(file);
        std::fs::read_to_string(&path)
            .map_err(|error| format!("livekit-protocol's {file}: {error}"))
    }

    /// The members of the `oneof` in a message.
    pub(super) fn one_of(&self, file: &str, message: &str) -> Result<Vec<String>, Failure> {
        let text = self.text(&format!("protobufs/{file}"))?;
        let missing = || format!("{file} has no oneof in {message}");
        let (_, body) = text
            .split_once(&format!("\nmessage {message} {{"))
            .ok_or_else(missing)?;
        let (_, body) = body.split_once("oneof ").ok_or_else(missing)?;
        let (_, body) = body.split_once('{').ok_or_else(missing)?;
        let (body, _) = body.split_once('}').ok_or_else(missing)?;
        let names: Vec<_> = body.lines().filter_map(field).collect();
        if names.is_empty() {
            return Err(missing());
        }
        Ok(names)
    }

    /// The methods of a service.
    pub(super) fn methods(&self, file: &str) -> Result<Vec<String>, Failure> {
        let text = self.text(&format!("protobufs/{file}"))?;
        let names = text.lines().filter_map(|line| {
            let (name, _) = line.trim().strip_prefix("rpc ")?.split_once('(')?;
            Some(name.to_owned())
        });
        Ok(names.collect())
    }

    /// The events of webhooks.
    pub(super) fn events(&self) -> Result<Vec<String>, Failure> {
        let text = self.text("webhook/consts.go")?;
        let names = text.lines().filter_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            name.starts_with("Event")
                .then(|| value.trim().trim_matches('"').to_owned())
        });
        Ok(names.collect())
    }
}

/// The name of the field that a line of a definition declares: `Type name = 1;`.
fn field(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with("//") {
        return None;
    }
    let (declared, _) = line.split_once('=')?;
    declared.split_whitespace().last().map(str::to_owned)
}
