//! Writes down what is asked of the file system.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cairn_oci::Digest;
use cairn_store::files::{Fs, Handle, RealFs};

/// What the caller was told to be durable.
#[derive(Debug, Clone)]
pub(super) enum Acknowledged {
    Blob(Digest),
    Mounted(Digest),
    Tag(String, Digest),
}

/// Paths are relative to the recorder's root, with `/`.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create { path: String, handle: usize },
    Open { path: String, handle: usize },
    Write { handle: usize, bytes: Vec<u8> },
    Sync { handle: usize, becomes: String },
    Rename { from: String, to: String },
    Link { from: String, to: String },
    Remove { path: String },
    CreateDirectory { path: String },
    SyncDirectory { path: String },
    Acknowledge(Acknowledged),
}

impl Operation {
    pub(super) fn flushes_directory(&self, end: &str) -> bool {
        matches!(self, Self::SyncDirectory { path } if path.ends_with(end))
    }

    /// See [`with_destinations`].
    pub(super) fn flushes_file_for(&self, directory: &str) -> bool {
        matches!(self, Self::Sync { becomes, .. } if becomes.contains(directory))
    }
}

/// Fills in, for each flush of a file, the name that the file gets later.
pub(super) fn with_destinations(mut operations: Vec<Operation>) -> Vec<Operation> {
    let mut names = BTreeMap::new();
    for place in 0..operations.len() {
        match &operations[place] {
            Operation::Create { path, handle } | Operation::Open { path, handle } => {
                names.insert(*handle, path.clone());
            }
            Operation::Sync { handle, .. } => {
                let (handle, name) = (*handle, names[handle].clone());
                let renamed = operations[place..].iter().find_map(|later| match later {
                    Operation::Rename { from, to } if *from == name => Some(to.clone()),
                    _ => None,
                });
                let becomes = renamed.unwrap_or(name);
                operations[place] = Operation::Sync { handle, becomes };
            }
            _ => {}
        }
    }
    operations
}

/// The real file system, without waiting for the disk, and a list of what was done.
#[derive(Debug, Clone)]
pub(super) struct RecordingFs {
    root: PathBuf,
    log: Arc<Mutex<Vec<Operation>>>,
}

impl RecordingFs {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            log: Arc::default(),
        }
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn acknowledge(&self, what: Acknowledged) {
        self.add(Operation::Acknowledge(what));
    }

    fn add(&self, operation: Operation) {
        self.log.lock().unwrap().push(operation);
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// The number of operations so far names the handle.
    fn handle(&self, inner: Box<dyn Handle>, open: impl FnOnce(usize) -> Operation) -> Box<dyn Handle> {
        let mut log = self.log.lock().unwrap();
        let handle = log.len();
        log.push(open(handle));
        let recorder = self.clone();
        Box::new(RecordingHandle {
            inner,
            handle,
            recorder,
        })
    }
}

impl Fs for RecordingFs {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn Handle>> {
        let (inner, path) = (RealFs.create(path, mode)?, self.relative(path));
        Ok(self.handle(inner, |handle| Operation::Create { path, handle }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let (inner, path) = (RealFs.append(path)?, self.relative(path));
        Ok(self.handle(inner, |handle| Operation::Open { path, handle }))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        RealFs.open(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealFs.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)?;
        let (from, to) = (self.relative(from), self.relative(to));
        self.add(Operation::Rename { from, to });
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename_new(from, to)?;
        let (from, to) = (self.relative(from), self.relative(to));
        self.add(Operation::Rename { from, to });
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.link(from, to)?;
        let (from, to) = (self.relative(from), self.relative(to));
        self.add(Operation::Link { from, to });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)?;
        let path = self.relative(path);
        self.add(Operation::Remove { path });
        Ok(())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealFs.create_directory(path)?;
        let path = self.relative(path);
        self.add(Operation::CreateDirectory { path });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let path = self.relative(path);
        self.add(Operation::SyncDirectory { path });
        Ok(())
    }
}

struct RecordingHandle {
    inner: Box<dyn Handle>,
    handle: usize,
    recorder: RecordingFs,
}

impl Handle for RecordingHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(bytes)?;
        let (handle, bytes) = (self.handle, bytes.to_vec());
        self.recorder.add(Operation::Write { handle, bytes });
        Ok(())
    }

    fn set_mode(&mut self, mode: u32) -> io::Result<()> {
        self.inner.set_mode(mode)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (handle, becomes) = (self.handle, String::new());
        self.recorder.add(Operation::Sync { handle, becomes });
        Ok(())
    }
}
