//! The names in a directory, all in one piece of memory.

use rustix::io::Errno;

/// Where a name stands among the bytes of [`Names`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    start: u32,
    /// No file system has longer names than that.
    length: u16,
}

impl Name {
    /// The one of which `bytes` are made.
    pub(super) const fn whole(bytes: &[u8]) -> Self {
        let length = bytes.len() as u16;
        Self { start: 0, length }
    }

    /// Its bytes, among those of all.
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + usize::from(self.length)]
    }
}

/// The names in a directory.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    places: Vec<Name>,
}

impl Names {
    /// Adds a name.
    ///
    /// # Errors
    ///
    /// [`Errno::OVERFLOW`] after 4 GiB of names, [`Errno::NAMETOOLONG`] for one of more than 65,535 bytes.
    pub(super) fn push(&mut self, name: &[u8]) -> Result<(), Errno> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name);
        self.places.push(Name { start, length });
        Ok(())
    }

    /// Sorts them by their bytes.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.places
            .sort_unstable_by(|left, right| left.of(bytes).cmp(right.of(bytes)));
    }

    /// All of them in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|name| name.of(&self.bytes))
    }

    /// Where each of them stands, in their order, and the bytes.
    pub(super) fn into_parts(self) -> (Vec<Name>, Box<[u8]>) {
        (self.places, self.bytes.into())
    }
}
