//! The file with the lock: beside the spec, or one for all images at the root of their workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cairn_build::Lock;
use cairn_build::lock::{LIMIT, WorkspaceLock};
use cairn_store::files;

use crate::diagnostic;
use crate::failure::Failure;
use crate::program::Cairn;
use crate::project::LOCK;
use crate::text_file;

/// The file, as it was read.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    /// What messages call it.
    pub shown: String,
    /// In a workspace, the image whose lock is meant.
    image: Option<String>,
    text: Option<String>,
    lock: Option<Lock>,
    /// The locks of the workspace's other images.
    others: BTreeMap<String, Lock>,
}

impl LockFile {
    /// Reads the lock in `directory`; in a workspace the one of `image`. A text that is `ignored` is as good as none.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn read(
        cairn: &Cairn,
        directory: &Path,
        image: Option<String>,
        ignored: fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let path = directory.join(LOCK);
        let shown = match image {
            Some(_) => crate::workspace::shown(cairn, &path),
            None => LOCK.to_owned(),
        };
        let text = text_file::read(&path, LIMIT)?.filter(|text| !ignored(text));
        let mut file = Self {
            path,
            shown,
            image,
            text,
            lock: None,
            others: BTreeMap::new(),
        };
        let Some(text) = &file.text else {
            return Ok(file);
        };
        let wrong = |findings: Vec<_>| {
            diagnostic::failure(&cairn.terminal, &file.shown, text, &findings, "nothing was done")
        };
        match &file.image {
            None => file.lock = Some(Lock::parse(text).map_err(wrong)?),
            Some(image) => {
                file.others = WorkspaceLock::parse(text).map_err(wrong)?.images;
                file.lock = file.others.remove(image);
            }
        }
        Ok(file)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text on the disk.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The lock, if there is one.
    #[must_use]
    pub const fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    /// The locks of the workspace's other images.
    pub fn others(&self) -> impl Iterator<Item = &Lock> {
        self.others.values()
    }

    /// Forgets the locks of images that are not in the workspace any more.
    pub fn retain(&mut self, images: &BTreeSet<String>) {
        self.others.retain(|name, _| images.contains(name));
    }

    /// What the file is to be with `lock`.
    #[must_use]
    pub fn text_with(&self, lock: &Lock) -> String {
        let before = self.text.as_deref().unwrap_or_default();
        let Some(image) = &self.image else {
            return lock.to_text_with_comments_of(before);
        };
        let mut images = self.others.clone();
        images.insert(image.clone(), lock.clone());
        WorkspaceLock { images }.to_text_with_comments_of(before)
    }

    /// Writes `text`, which says `lock`.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then the file is as it was.
    pub fn write(&mut self, text: String, lock: Lock) -> Result<(), Failure> {
        if self.text.as_ref() != Some(&text) {
            files::write(&self.path, text.as_bytes(), files::PUBLIC)?;
        }
        self.text = Some(text);
        self.lock = Some(lock);
        Ok(())
    }
}
