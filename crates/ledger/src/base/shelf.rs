//! Values that are read when they are needed, and kept then.

use std::fmt;
use std::sync::OnceLock;

use super::front::Raw;
use std::ops::Range;

/// How many places are made at once.
const CHUNK: usize = 64;

/// Where values come from.
pub(crate) trait Source<T>: Send + Sync + fmt::Debug {
    /// The value at a place below the shelf's length; none if it cannot be read, which the source remembers.
    fn load(&self, at: usize) -> Option<T>;

    /// The values of `range`, if it is quicker to read them together.
    fn load_all(&self, _range: Range<usize>) -> Option<Vec<T>> {
        None
    }

    /// All values as bytes.
    fn all(&self) -> Option<Raw>;
}

/// Places for values.
type Chunk<T> = [OnceLock<T>; CHUNK];

/// A fixed number of values.
pub(crate) struct Shelf<T> {
    source: Box<dyn Source<T>>,
    length: usize,
    chunks: Vec<OnceLock<Box<Chunk<T>>>>,
}

impl<T> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({} values)", self.length)
    }
}

impl<T> Shelf<T> {
    pub(crate) fn new(source: Box<dyn Source<T>>, length: usize) -> Self {
        let chunks = length.div_ceil(CHUNK);
        Self {
            source,
            length,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// The value at a place; none beyond the end, and if it cannot be read.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        let place = self.place(at)?;
        if let Some(value) = place.get() {
            return Some(value);
        }
        let value = self.source.load(at)?;
        Some(place.get_or_init(|| value))
    }

    fn place(&self, at: usize) -> Option<&OnceLock<T>> {
        if at >= self.length {
            return None;
        }
        let chunk = self.chunks.get(at / CHUNK)?;
        let chunk = chunk.get_or_init(|| Box::new([const { OnceLock::new() }; CHUNK]));
        chunk.get(at % CHUNK)
    }

    /// Reads the values of `range` together, where that is quicker than one by one.
    pub(crate) fn fill(&self, range: Range<usize>) {
        let range = range.start..range.end.min(self.length);
        for (at, value) in range
            .clone()
            .zip(self.source.load_all(range).into_iter().flatten())
        {
            if let Some(place) = self.place(at) {
                place.get_or_init(|| value);
            }
        }
    }

    /// All values as bytes.
    pub(crate) fn all(&self) -> Option<Raw> {
        self.source.all()
    }
}
