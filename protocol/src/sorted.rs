//! A map and a set in sorted vectors, walked in the order of their keys.
//!
//! They stand in for `BTreeMap` and `BTreeSet`, whose code is made anew for each pair of
//! types: that was a fifth of the module a page downloads. Here keys lie apart from values,
//! so that searching is made once for each type of key, and sorting once at all. Looking up
//! is as fast as in a tree. Inserting and removing move what lies behind, which is nothing
//! for keys that come in order, and some 100 µs in the largest map there is, of ten thousand
//! contents.

use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, slice};

/// A set, in order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<K>", bound(deserialize = "K: Ord + Deserialize<'de>"))]
pub struct SortedSet<K>(Vec<K>);

/// A map, in the order of its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct SortedMap<K, V> {
    keys: SortedSet<K>,
    /// The value of each key, in the order of the keys.
    values: Vec<V>,
}

impl<K: Ord> SortedSet<K> {
    /// An empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Adds `key` and says whether it was not there.
    pub fn insert(&mut self, key: K) -> bool {
        match self.place(&key) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, key);
                true
            }
        }
    }

    /// Gives back the room that is kept for more.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Takes `key` out and says whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        self.place(key).map(|at| self.0.remove(at)).is_ok()
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, keep: impl FnMut(&K) -> bool) {
        self.0.retain(keep);
    }

    /// All of them, in order.
    pub fn iter(&self) -> slice::Iter<'_, K> {
        self.0.iter()
    }

    /// Those from `key` on, in order.
    pub fn from(&self, key: &K) -> &[K] {
        let (Ok(at) | Err(at)) = self.place(key);
        &self.0[at..]
    }

    /// Where `key` is, or would be.
    fn place(&self, key: &K) -> Result<usize, usize> {
        // What comes in order belongs to the end.
        match self.0.last() {
            Some(last) if last < key => Err(self.0.len()),
            _ => self.0.binary_search(key),
        }
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self {
            keys: SortedSet::new(),
            values: Vec::new(),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether `key` is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.keys.contains(key)
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.keys.place(key).ok().map(|at| &self.values[at])
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.keys.place(key).ok().map(|at| &mut self.values[at])
    }

    /// Gives `key` a value, and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.keys.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], value)),
            Err(at) => {
                self.keys.0.insert(at, key);
                self.values.insert(at, value);
                None
            }
        }
    }

    /// Takes `key` out and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.keys.place(key).ok()?;
        self.keys.0.remove(at);
        Some(self.values.remove(at))
    }

    /// The place of `key`, to be filled where it is empty.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        Entry { map: self, key }
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let mut kept = 0;
        for at in 0..self.len() {
            if keep(&self.keys.0[at], &mut self.values[at]) {
                self.keys.0.swap(kept, at);
                self.values.swap(kept, at);
                kept += 1;
            }
        }
        self.keys.0.truncate(kept);
        self.values.truncate(kept);
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.keys.0.clear();
        self.values.clear();
    }

    /// The keys, in order.
    pub fn keys(&self) -> slice::Iter<'_, K> {
        self.keys.iter()
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> slice::Iter<'_, V> {
        self.values.iter()
    }

    /// The values, to be changed, in the order of their keys.
    pub fn values_mut(&mut self) -> slice::IterMut<'_, V> {
        self.values.iter_mut()
    }

    /// The values, taken out, in the order of their keys.
    pub fn into_values(self) -> std::vec::IntoIter<V> {
        self.values.into_iter()
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    /// Keys and values, to be changed, in the order of the keys.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.keys.iter().zip(&mut self.values)
    }
}

/// The place of a key in a map.
pub struct Entry<'a, K, V> {
    map: &'a mut SortedMap<K, V>,
    key: K,
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    /// The value there; where there is none, `value`.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value there; where there is none, the default.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value there; where there is none, what `make` makes.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        let Self { map, key } = self;
        let at = match map.keys.place(&key) {
            Ok(at) => at,
            Err(at) => {
                map.keys.0.insert(at, key);
                map.values.insert(at, make());
                at
            }
        };
        &mut map.values[at]
    }
}

/// The numbers below `len`, in the order of what they stand for. Equals stay as they are.
fn order(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    /// Of pairs with the same key the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<Option<(K, V)>> = pairs.into_iter().map(Some).collect();
        let key = |at: usize| pairs[at].as_ref().map(|(key, _)| key);
        let order = order(pairs.len(), &|one, other| key(one).cmp(&key(other)));
        let mut map = Self::new();
        map.extend(order.into_iter().filter_map(|at| pairs[at].take()));
        map
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        keys.into_iter()
            .map(|key| (key, ()))
            .collect::<SortedMap<K, ()>>()
            .keys
    }
}

impl<K: Ord> From<Vec<K>> for SortedSet<K> {
    fn from(keys: Vec<K>) -> Self {
        keys.into_iter().collect()
    }
}

impl<K: Ord> Extend<K> for SortedSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::iter::Zip<std::vec::IntoIter<K>, std::vec::IntoIter<V>>;
    fn into_iter(self) -> Self::IntoIter {
        self.keys.0.into_iter().zip(self.values)
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Zip<slice::Iter<'a, K>, slice::Iter<'a, V>>;
    fn into_iter(self) -> Self::IntoIter {
        self.keys.0.iter().zip(&self.values)
    }
}

impl<'a, K, V> IntoIterator for &'a mut SortedMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = std::iter::Zip<slice::Iter<'a, K>, slice::IterMut<'a, V>>;
    fn into_iter(self) -> Self::IntoIter {
        self.keys.0.iter().zip(&mut self.values)
    }
}

impl<K> IntoIterator for SortedSet<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K> IntoIterator for &'a SortedSet<K> {
    type Item = &'a K;
    type IntoIter = slice::Iter<'a, K>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

// Derived, these would ask for defaults of keys and values.
impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self {
            keys: SortedSet::default(),
            values: Vec::new(),
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for SortedSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u16),
        Remove(u8),
        Entry(u8, u16),
        RetainBelow(u8),
        Extend(Vec<(u8, u16)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<(u8, u16)>().prop_map(|(key, value)| Step::Insert(key, value)),
            2 => any::<u8>().prop_map(Step::Remove),
            2 => any::<(u8, u16)>().prop_map(|(key, value)| Step::Entry(key, value)),
            1 => any::<u8>().prop_map(Step::RetainBelow),
            1 => any::<Vec<(u8, u16)>>().prop_map(Step::Extend),
        ]
    }

    proptest! {
        #[test]
        fn a_map_is_what_a_tree_is(
            start: Vec<(u8, u16)>,
            steps in prop::collection::vec(step(), 0..50),
        ) {
            let mut tree: BTreeMap<u8, u16> = start.iter().copied().collect();
            let mut map: SortedMap<u8, u16> = start.into_iter().collect();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        prop_assert_eq!(map.insert(key, value), tree.insert(key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(map.remove(&key), tree.remove(&key)),
                    Step::Entry(key, value) => {
                        prop_assert_eq!(map.entry(key).or_insert(value), tree.entry(key).or_insert(value));
                    }
                    Step::RetainBelow(bound) => {
                        map.retain(|key, value| { *value /= 2; *key < bound });
                        tree.retain(|key, value| { *value /= 2; *key < bound });
                    }
                    Step::Extend(pairs) => {
                        map.extend(pairs.iter().copied());
                        tree.extend(pairs);
                    }
                }
                prop_assert!(map.iter().eq(&tree));
                prop_assert_eq!(map.len(), tree.len());
                for key in 0..=u8::MAX {
                    prop_assert_eq!(map.get(&key), tree.get(&key));
                }
            }
        }

        #[test]
        fn a_set_is_what_a_tree_is(start: Vec<u8>, more: Vec<u8>, less: Vec<u8>) {
            let mut tree: BTreeSet<u8> = start.iter().copied().collect();
            let mut set: SortedSet<u8> = start.into_iter().collect();
            for key in more {
                prop_assert_eq!(set.insert(key), tree.insert(key));
            }
            for key in less {
                prop_assert_eq!(set.contains(&key), tree.contains(&key));
                prop_assert_eq!(set.remove(&key), tree.remove(&key));
            }
            prop_assert!(set.iter().eq(&tree));
            for key in 0..=u8::MAX {
                prop_assert!(set.from(&key).iter().eq(tree.range(key..)));
            }
        }
    }
}
