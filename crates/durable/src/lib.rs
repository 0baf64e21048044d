//! Files that a crash or a power cut leaves whole.
//!
//! Owns the order of calls that makes it so: a file is written beside, synced, renamed, and then its folder is synced, for until then the
//! new name may be lost, or be there without what it names (fsync(2), rename(2)). What this crate makes only its owner can read: files have
//! [`FILE_MODE`], folders [`FOLDER_MODE`].
//!
//! [`Disk`] is what all of it goes through, so that tests can cut the power between any two calls, or have one fail.
//!
//! Refuses to clean up after others: of what is written beside under a fixed name ([`replace`]), a killed process leaves one file, which the
//! next write takes. Crates that do the same write beside under random names, which stay for ever, and with them keys and personal data that
//! nobody knows of.

mod system;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

pub use system::System;

/// Permissions of every file: its owner reads and writes.
pub const FILE_MODE: u32 = 0o600;
/// Permissions of every folder: nobody else sees what is in it.
pub const FOLDER_MODE: u32 = 0o700;
/// What is behind a file's name while it is written.
const BESIDE: &str = ".new";

/// How a file is opened. It is only ever appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Empty, whether it was there or not.
    Empty,
    /// New: fails with [`ErrorKind::AlreadyExists`] if it is there.
    New,
    /// As it is, or empty if it isn't there.
    AsItIs,
}

/// A file system. Nothing is on the disk for good before it was synced: of what was not, a power cut leaves anything.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file to append to.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name in its folder, which no longer names what it named.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file one more name.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] if the name is taken; what the system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder; the one that it is in must be there.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`]; what the system says.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it, one by one: a crash leaves some of it.
    ///
    /// # Errors
    /// What the system says.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Has the names in a folder on the disk, for good.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is open.
pub trait DiskFile: Debug + Send {
    /// Writes at the end.
    ///
    /// # Errors
    /// What the system says; then some of it may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts off what is behind `len` bytes.
    ///
    /// # Errors
    /// What the system says.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Has what is in it on the disk, for good. Its name is the folder's ([`Disk::sync_folder`]).
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes a file anew: whatever happens there is the old one or the new one, and the new one once this has answered. The file is at its end,
/// to be appended to. Only one at a time may write a file; the caller sees to that.
///
/// # Errors
/// What the disk says. Then the old file is as it was, unless only the folder could not be synced: then the new one is there, and may be lost.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let beside = named(path, BESIDE);
    let written = write(disk, &beside, Open::Empty, bytes).and_then(|file| {
        disk.rename(&beside, path)?;
        Ok(file)
    });
    let file = written.inspect_err(|_| discard(disk, &beside))?;
    disk.sync_folder(folder_of(path))?;
    Ok(file)
}

/// Writes a file unless it is there; answers whether it was not. Of several who do it at once one is first, and all find the whole file of
/// that one.
///
/// # Errors
/// What the disk says.
pub fn create(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    // Another one may be writing beside, too.
    let suffix = format!(".{:016x}{BESIDE}", getrandom::u64()?);
    let beside = named(path, &suffix);
    let linked = write(disk, &beside, Open::New, bytes).and_then(|_| disk.link(&beside, path));
    discard(disk, &beside);
    let first = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    // Also the other's, who may not have come so far yet.
    disk.sync_folder(folder_of(path))?;
    Ok(first)
}

/// Makes a folder and those that it is in, as far as they are not there, and has their names on the disk.
///
/// # Errors
/// What the disk says.
pub fn make_folder(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let above = folder_of(path);
    match disk.make_folder(path) {
        Ok(()) => disk.sync_folder(above),
        Err(error) if error.kind() == ErrorKind::NotFound && above != path => {
            make_folder(disk, above)?;
            make_folder(disk, path)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {
            // Whoever made it may have been killed before its name was on the disk. If we may not even look into the folder above, it was
            // not one of us.
            match disk.sync_folder(above) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
                synced => synced,
            }
        }
        Err(error) => Err(error),
    }
}

fn write(disk: &dyn Disk, path: &Path, how: Open, bytes: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let mut file = disk.open(path, how)?;
    file.append(bytes)?;
    file.sync()?;
    Ok(file)
}

/// Whatever went wrong is worth telling more than that this did, too.
fn discard(disk: &dyn Disk, beside: &Path) {
    let _ = disk.remove(beside);
}

fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}
