//! Sorted tables of which most may be in the remembered state.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;
use std::iter::Peekable;
use std::sync::Arc;

use super::shelf::Shelf;

/// Keys with values, in the order of the keys. Most may not have been read yet.
pub struct Table<K, V> {
    base: Option<Arc<Shelf<(K, V)>>>,
    /// What is not as in the base; nothing where a key is gone.
    changed: Arc<BTreeMap<K, Option<V>>>,
    length: usize,
}

impl<K, V> Table<K, V> {
    /// The table that has what `base` has.
    pub(crate) fn on(base: Arc<Shelf<(K, V)>>) -> Self {
        Self {
            length: base.len(),
            base: Some(base),
            changed: Arc::default(),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) const fn base(&self) -> Option<&Arc<Shelf<(K, V)>>> {
        self.base.as_ref()
    }

    pub(crate) fn changed(&self) -> &BTreeMap<K, Option<V>> {
        &self.changed
    }
}

impl<K: Ord, V> Table<K, V> {
    /// Where the key is in the base, or would be.
    pub(super) fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        let Some(base) = &self.base else { return Err(0) };
        let (mut low, mut high) = (0, base.len());
        while low < high {
            let middle = low.midpoint(high);
            // What cannot be read is marked where it is read.
            let Some((found, _)) = base.get(middle) else {
                return Err(low);
            };
            match found.borrow().cmp(key) {
                Ordering::Equal => return Ok(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The value of a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if let Some(changed) = self.changed.get(key) {
            return changed.as_ref();
        }
        let base = self.base.as_ref()?;
        let at = self.place(key).ok()?;
        base.get(at).map(|(_, value)| value)
    }

    /// Whether it has a key.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// All of them, in the order of the keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            base: self.base.as_deref(),
            next: 0,
            changed: self.changed.iter().peekable(),
        }
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// Gives a key a value.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.length += usize::from(!self.contains_key(&key));
        Arc::make_mut(&mut self.changed).insert(key, Some(value));
    }

    /// Takes a key away.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.contains_key(key) {
            self.length -= 1;
            Arc::make_mut(&mut self.changed).insert(key.clone(), None);
        }
    }

    /// The value of a key, to change it.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.bring(key);
        Arc::make_mut(&mut self.changed).get_mut(key)?.as_mut()
    }

    /// The value of a key, to change it; the default if it had none.
    pub(crate) fn value_mut(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        self.length += usize::from(!self.contains_key(key));
        self.bring(key);
        let changed = Arc::make_mut(&mut self.changed).entry(key.clone());
        changed.or_default().get_or_insert_with(V::default)
    }

    /// Copies the value of a key out of the base, where it may not be changed. One that was copied before is not copied again: it may
    /// be long.
    fn bring(&mut self, key: &K) {
        if !self.changed.contains_key(key)
            && let Some(value) = self.get(key).cloned()
        {
            Arc::make_mut(&mut self.changed).insert(key.clone(), Some(value));
        }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            base: None,
            changed: Arc::default(),
            length: 0,
        }
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self {
            base: self.base.clone(),
            changed: Arc::clone(&self.changed),
            length: self.length,
        }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for Table<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V> std::ops::Index<&K> for Table<K, V> {
    type Output = V;

    /// # Panics
    ///
    /// Without the key, as of a map.
    #[expect(clippy::expect_used, reason = "as an index of a map")]
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("a key of the table")
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a Table<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

/// Keys and values of a [`Table`]. What cannot be read is passed over; the ledger is not used then.
pub struct Iter<'a, K, V> {
    base: Option<&'a Shelf<(K, V)>>,
    next: usize,
    changed: Peekable<btree_map::Iter<'a, K, Option<V>>>,
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Iter(at {})", self.next)
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self {
            base: self.base,
            next: self.next,
            changed: self.changed.clone(),
        }
    }
}

impl<'a, K: Ord, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let base = self.base.filter(|base| self.next < base.len());
            let kept = match base.map(|base| base.get(self.next)) {
                Some(None) => {
                    self.next += 1;
                    continue;
                }
                Some(Some(kept)) => Some(kept),
                None => None,
            };
            let order = match (kept, self.changed.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((changed, _))) => key.cmp(changed),
            };
            if order != Ordering::Greater {
                self.next += 1;
            }
            if order == Ordering::Less {
                return kept.map(|(key, value)| (key, value));
            }
            if let Some((key, Some(value))) = self.changed.next() {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// Counts how often it was copied.
    #[derive(Debug, Default)]
    struct Value(Rc<Cell<usize>>);

    impl Clone for Value {
        fn clone(&self) -> Self {
            self.0.set(self.0.get() + 1);
            Self(Rc::clone(&self.0))
        }
    }

    #[test]
    fn a_value_that_was_changed_before_is_not_copied_to_be_changed_again() {
        let mut table: Table<u8, Value> = Table::default();
        let copies = Rc::clone(&table.value_mut(&1).0);
        for _ in 0..3 {
            assert!(Rc::ptr_eq(&table.value_mut(&1).0, &copies));
            assert!(table.get_mut(&1).is_some());
        }
        assert_eq!((copies.get(), table.len()), (0, 1));
        table.remove(&1);
        assert!(table.is_empty());
        assert!(!Rc::ptr_eq(&table.value_mut(&1).0, &copies));
        assert_eq!(table.len(), 1);
    }
}
