//! Lists whose beginning may be in the remembered state.

use std::fmt;
use std::iter::FusedIterator;
use std::ops::Range;
use std::sync::Arc;

use super::shelf::Shelf;

/// A list that grows, and is cut, at its end. Its beginning may not have been read yet.
pub struct List<T> {
    base: Option<Arc<Shelf<T>>>,
    /// How many of the base still belong to it.
    kept: usize,
    rest: Vec<T>,
}

impl<T> List<T> {
    /// The list that begins, and ends, with `base`.
    pub(crate) fn on(base: Arc<Shelf<T>>) -> Self {
        Self {
            kept: base.len(),
            base: Some(base),
            rest: Vec::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.kept + self.rest.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        match at.checked_sub(self.kept) {
            Some(at) => self.rest.get(at),
            None => self.base.as_ref()?.get(at),
        }
    }

    /// The first one.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// All of them, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, T> {
        self.range(0..self.len())
    }

    /// Those at the places of `range`, as far as there are any.
    #[must_use]
    pub fn range(&self, range: Range<usize>) -> Iter<'_, T> {
        let end = range.end.min(self.len());
        Iter {
            list: self,
            range: range.start.min(end)..end,
        }
    }

    /// Those of `range` will be asked for, all of them.
    pub(crate) fn fill(&self, range: Range<usize>) {
        if let Some(base) = &self.base {
            base.fill(range.start..range.end.min(self.kept));
        }
    }

    /// Adds one at the end.
    pub(crate) fn push(&mut self, value: T) {
        self.rest.push(value);
    }

    /// Forgets all behind the first `length`.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.rest.truncate(length.saturating_sub(self.kept));
        self.kept = self.kept.min(length);
    }

    /// How many are not in the remembered state.
    pub(crate) const fn new_count(&self) -> usize {
        self.rest.len()
    }

    /// How many were read from the remembered state.
    pub(crate) const fn kept(&self) -> usize {
        self.kept
    }

    /// Those that are not in the remembered state.
    pub(crate) fn rest(&self) -> &[T] {
        &self.rest
    }

    pub(crate) const fn base(&self) -> Option<&Arc<Shelf<T>>> {
        self.base.as_ref()
    }

    /// The first `length` of them.
    pub(crate) fn beginning(&self, length: usize) -> Option<Self>
    where
        T: Clone,
    {
        let mut list = self.clone();
        list.truncate(length);
        (list.len() == length).then_some(list)
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self {
            base: None,
            kept: 0,
            rest: Vec::new(),
        }
    }
}

impl<T: Clone> Clone for List<T> {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            kept: self.kept,
            rest: self.rest.clone(),
        }
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.rest.extend(values);
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self {
            rest: values.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl<T> std::ops::Index<usize> for List<T> {
    type Output = T;

    /// # Panics
    ///
    /// Beyond the end, as of a slice.
    #[expect(clippy::expect_used, reason = "as an index of a slice")]
    fn index(&self, at: usize) -> &T {
        self.get(at).expect("within the list")
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The values of a [`List`]. What cannot be read is passed over; the ledger is not used then.
#[derive(Debug)]
pub struct Iter<'a, T> {
    list: &'a List<T>,
    range: Range<usize>,
}

impl<T> Clone for Iter<'_, T> {
    fn clone(&self) -> Self {
        Self {
            list: self.list,
            range: self.range.clone(),
        }
    }
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.range.find_map(|at| self.list.get(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<&'a T> {
        self.range.start = self.range.start.saturating_add(n).min(self.range.end);
        self.next()
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(value) = self.list.get(self.range.next_back()?) {
                return Some(value);
            }
        }
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
impl<T> FusedIterator for Iter<'_, T> {}
