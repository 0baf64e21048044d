//! A disk whose power can be cut after any call, and whose calls can fail.
//!
//! [`SimDisk`] does in a real folder what it is asked for, except for waiting for the hardware, and notes each call. [`SimDisk::after`] tells
//! what a power cut may leave after so many calls. Only what was synced is sure: each write since then may be there whole, up to some byte,
//! as zeros, or not at all, and so may one that came later without one that came before; each new, other or removed name may be there or not,
//! in any order, until its folder was synced. That is what POSIX promises, and less than any file system that is in use does. Two things
//! are as all of them have them: a rename or link is one step, and what was synced stays.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schalter_durable::{Disk, DiskFile, Open, System};

use crate::Random;

/// What is left of what was not synced.
#[derive(Debug)]
pub enum Left {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// Anything.
    Any(Random),
}

/// What a folder holds: files with their bytes, and folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Files(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Files {
    /// Puts everything into a folder, in place of what is there.
    pub fn write(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).expect("a folder for tests");
        // A folder's path sorts before those of what is in it.
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            match bytes {
                Some(bytes) => fs::write(path, bytes),
                None => fs::create_dir(path),
            }
            .expect("a folder for tests");
        }
    }

    /// A file's bytes.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.get(Path::new(path))?.as_deref()
    }

    /// The paths of all files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.0.iter().filter(|(_, bytes)| bytes.is_some());
        files.map(|(path, _)| path.as_path())
    }
}

type NodeId = usize;
const ROOT: NodeId = 0;

/// A file or a folder.
#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<String, NodeId>),
}

/// Something that was done, to nodes that stay the same whatever they are called.
#[derive(Clone, Debug)]
enum Call {
    Make(Node),
    Name {
        folder: NodeId,
        former: Option<String>,
        name: String,
        node: NodeId,
    },
    Unname {
        folder: NodeId,
        name: String,
    },
    Write {
        file: NodeId,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: NodeId,
        len: usize,
    },
    Sync(NodeId),
}

/// Everything on the disk.
#[derive(Clone, Debug)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn folder(&mut self, id: NodeId) -> &mut BTreeMap<String, NodeId> {
        match &mut self.0[id] {
            Node::Folder(names) => names,
            Node::File(_) => panic!("a file is no folder"),
        }
    }

    fn file(&mut self, id: NodeId) -> &mut Vec<u8> {
        match &mut self.0[id] {
            Node::File(bytes) => bytes,
            Node::Folder(_) => panic!("a folder is no file"),
        }
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Make(node) => self.0.push(node.clone()),
            Call::Name {
                folder,
                former,
                name,
                node,
            } => {
                let names = self.folder(*folder);
                if let Some(former) = former {
                    names.remove(former);
                }
                names.insert(name.clone(), *node);
            }
            Call::Unname { folder, name } => drop(self.folder(*folder).remove(name)),
            Call::Write { file, at, bytes } => {
                let own = self.file(*file);
                own.resize(own.len().max(at + bytes.len()), 0);
                own[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Call::Cut { file, len } => self.file(*file).resize(*len, 0),
            Call::Sync(_) => {}
        }
    }

    fn collect(&self, id: NodeId, path: &Path, files: &mut Files) {
        let Node::Folder(names) = &self.0[id] else {
            return;
        };
        for (name, id) in names {
            let path = path.join(name);
            let bytes = match &self.0[*id] {
                Node::File(bytes) => Some(bytes.clone()),
                Node::Folder(_) => None,
            };
            files.0.insert(path.clone(), bytes);
            self.collect(*id, &path, files);
        }
    }

    fn read(&mut self, folder: &Path) -> NodeId {
        let id = self.0.len();
        self.0.push(Node::Folder(BTreeMap::new()));
        for entry in fs::read_dir(folder).expect("a folder for tests") {
            let path = entry.expect("a folder for tests").path();
            let below = if path.is_dir() {
                self.read(&path)
            } else {
                self.0
                    .push(Node::File(fs::read(&path).expect("a file of tests")));
                self.0.len() - 1
            };
            let name = name_of(&path);
            self.folder(id).insert(name, below);
        }
        id
    }
}

#[derive(Debug)]
struct Noted {
    /// What was there at the start, all of it synced.
    first: Nodes,
    calls: Vec<Call>,
    /// As it is for whoever looks.
    now: Nodes,
    /// Calls until one fails.
    fails_in: Option<usize>,
}

/// A disk whose power was cut.
#[derive(Debug)]
pub struct Cut {
    /// Of each file and folder what is sure.
    sure: Nodes,
    /// What was done to it since it was synced.
    open: BTreeMap<NodeId, Vec<Call>>,
}

impl Cut {
    /// What may be there afterwards.
    pub fn files(&self, left: &mut Left) -> Files {
        let mut nodes = self.sure.clone();
        for call in self.open.values().flatten() {
            if let Some(call) = left.of(call) {
                nodes.apply(&call);
            }
        }
        let mut files = Files::default();
        nodes.collect(ROOT, Path::new(""), &mut files);
        files
    }
}

/// Called after each call.
type Watch = Box<dyn FnMut() + Send>;

/// A disk that notes what it is asked for. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    root: PathBuf,
    noted: Arc<Mutex<Noted>>,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimDisk").field(&self.root).finish()
    }
}

impl SimDisk {
    /// A disk that has what is in a folder.
    pub fn new(root: &Path) -> Self {
        let mut first = Nodes(Vec::new());
        first.read(root);
        Self {
            root: root.to_owned(),
            noted: Arc::new(Mutex::new(Noted {
                now: first.clone(),
                first,
                calls: Vec::new(),
                fails_in: None,
            })),
            watch: Arc::default(),
        }
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.noted().calls.len()
    }

    /// What was written at once, each with the number of calls until then.
    pub fn written(&self) -> Vec<(usize, Vec<u8>)> {
        let noted = self.noted();
        let written = (1..).zip(&noted.calls);
        let written = written.filter_map(|(calls, call)| match call {
            Call::Write { bytes, .. } => Some((calls, bytes.clone())),
            Call::Make(_)
            | Call::Name { .. }
            | Call::Unname { .. }
            | Call::Cut { .. }
            | Call::Sync(_) => None,
        });
        written.collect()
    }

    /// Has a call fail: 0 is the next one.
    pub fn fail_in(&self, calls: usize) {
        self.noted().fails_in = Some(calls);
    }

    /// Has somebody look on after each call, but those that it makes itself.
    pub fn watch(&self, watch: impl FnMut() + Send + 'static) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watch));
    }

    /// Cuts the power after the first `calls` calls.
    pub fn cut(&self, calls: usize) -> Cut {
        let noted = self.noted();
        let mut sure = noted.first.clone();
        let mut open: BTreeMap<NodeId, Vec<Call>> = BTreeMap::new();
        let mut seen = noted.first.clone();
        for call in &noted.calls[..calls] {
            seen.apply(call);
            match call {
                Call::Make(Node::File(_)) => sure.0.push(Node::File(Vec::new())),
                Call::Make(node) => sure.0.push(node.clone()),
                Call::Name { folder: id, .. }
                | Call::Unname { folder: id, .. }
                | Call::Write { file: id, .. }
                | Call::Cut { file: id, .. } => open.entry(*id).or_default().push(call.clone()),
                Call::Sync(id) => {
                    sure.0[*id] = seen.0[*id].clone();
                    open.remove(id);
                }
            }
        }
        Cut { sure, open }
    }

    /// What a power cut after the first `calls` calls may leave.
    pub fn after(&self, calls: usize, left: &mut Left) -> Files {
        self.cut(calls).files(left)
    }

    /// Where something is, if it is below the root.
    fn find(&self, path: &Path) -> Option<(NodeId, NodeId, String)> {
        let below = path.strip_prefix(&self.root).ok()?;
        let mut noted = self.noted();
        let (mut folder, mut node, mut name) = (ROOT, ROOT, String::new());
        for component in below.components() {
            let Component::Normal(part) = component else {
                continue;
            };
            (folder, name) = (node, part.to_str().expect("a name of tests").to_owned());
            node = *noted.now.folder(folder).get(&name).unwrap_or(&NodeId::MAX);
        }
        Some((folder, node, name))
    }

    /// Where something is to be; panics if that is not on this disk.
    fn place(&self, path: &Path) -> (NodeId, NodeId, String) {
        self.find(path).expect("a path on this disk")
    }

    /// Notes a call, unless it is to fail.
    fn note(&self, calls: impl IntoIterator<Item = Call>) {
        for call in calls {
            let mut noted = self.noted();
            noted.now.apply(&call);
            noted.calls.push(call);
            drop(noted);
            // Not there while it looks: what it does itself is noted, and nobody looks on.
            let watch = self
                .watch
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(mut watch) = watch {
                watch();
                *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
            }
        }
    }

    fn may_fail(&self) -> io::Result<()> {
        let mut noted = self.noted();
        match noted.fails_in {
            Some(0) => {
                noted.fails_in = None;
                Err(io::Error::new(ErrorKind::StorageFull, "the test's failure"))
            }
            Some(calls) => {
                noted.fails_in = Some(calls - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn make(&self, node: Node, folder: NodeId, name: String) -> NodeId {
        let id = self.noted().now.0.len();
        self.note([
            Call::Make(node),
            Call::Name {
                folder,
                former: None,
                name,
                node: id,
            },
        ]);
        id
    }
}

impl Left {
    /// What is left of a call.
    fn of(&mut self, call: &Call) -> Option<Call> {
        let random = match self {
            Self::All => return Some(call.clone()),
            Self::Nothing => return None,
            Self::Any(random) => random,
        };
        match call {
            Call::Write { file, at, bytes } => {
                let mut bytes = bytes.clone();
                match random.below(4) {
                    0 => return None,
                    1 => {}
                    2 => bytes.truncate(random.below(bytes.len() as u64) as usize),
                    _ => bytes.fill(0),
                }
                let (file, at) = (*file, *at);
                Some(Call::Write { file, at, bytes })
            }
            Call::Make(_)
            | Call::Name { .. }
            | Call::Unname { .. }
            | Call::Cut { .. }
            | Call::Sync(_) => (random.below(2) == 0).then(|| call.clone()),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.may_fail()?;
        let file = System.open(path, how)?;
        let (folder, mut id, name) = self.place(path);
        if id == NodeId::MAX {
            id = self.make(Node::File(Vec::new()), folder, name);
        } else if how == Open::Empty {
            self.note([Call::Cut { file: id, len: 0 }]);
        }
        let disk = self.clone();
        Ok(Box::new(SimFile { disk, id, file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_fail()?;
        System.rename(from, to)?;
        let ((folder, node, former), (other, _, name)) = (self.place(from), self.place(to));
        assert_eq!(folder, other, "a rename within a folder");
        let former = Some(former);
        self.note([Call::Name {
            folder,
            former,
            name,
            node,
        }]);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may_fail()?;
        System.link(from, to)?;
        let ((_, node, _), (folder, _, name)) = (self.place(from), self.place(to));
        self.note([Call::Name {
            folder,
            former: None,
            name,
            node,
        }]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may_fail()?;
        System.remove(path)?;
        let (folder, _, name) = self.place(path);
        self.note([Call::Unname { folder, name }]);
        Ok(())
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.may_fail()?;
        System.make_folder(path)?;
        let (folder, _, name) = self.place(path);
        self.make(Node::Folder(BTreeMap::new()), folder, name);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_dir() {
                self.remove_folder(&path)?;
            } else {
                self.remove(&path)?;
            }
        }
        self.may_fail()?;
        fs::remove_dir(path)?;
        let (folder, _, name) = self.place(path);
        self.note([Call::Unname { folder, name }]);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.may_fail()?;
        // What is above the root stays what it is.
        if let Some((_, id, _)) = self.find(path) {
            assert_ne!(id, NodeId::MAX, "{} is there", path.display());
            self.note([Call::Sync(id)]);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: NodeId,
    file: Box<dyn DiskFile>,
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let may = self.disk.may_fail();
        // A disk that is full takes what it still can.
        let bytes = if may.is_err() {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        self.file.append(bytes)?;
        let at = self.disk.noted().now.file(self.id).len();
        let (file, bytes) = (self.id, bytes.to_vec());
        self.disk.note([Call::Write { file, at, bytes }]);
        may
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.may_fail()?;
        self.file.cut(len)?;
        let (file, len) = (self.id, usize::try_from(len).expect("a file of tests"));
        self.disk.note([Call::Cut { file, len }]);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.may_fail()?;
        self.disk.note([Call::Sync(self.id)]);
        Ok(())
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    name.expect("a name of tests").to_owned()
}
