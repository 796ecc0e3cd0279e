//! A slab whose keys are given once: index and generation.
//!
//! Events, jobs and completions carry a [`Key`]. When they come back late, the slot may serve somebody else by then; the
//! generation tells, and a stale key finds nobody, which is fine.

use slab::Slab;

/// Names an entry of [`Slots`] for ever: no other entry will have this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as one number, for a poll token. Never `u64::MAX - n` for small n: those are free for other sources.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key of such a number.
    pub fn from_u64(number: u64) -> Key {
        Key { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// Entries by key.
#[derive(Debug)]
pub struct Slots<T> {
    entries: Slab<(u32, T)>,
    /// Of the next entry; counts every insertion, so that a slot's next entry differs from its last.
    generation: u32,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { entries: Slab::new(), generation: 0 }
    }
}

impl<T> Slots<T> {
    /// Empty ones, that grow.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty ones, that grow without a copy up to `capacity` entries. Until an entry is there, its memory is addresses
    /// only: the kernel gives pages as they are touched.
    pub fn with_capacity(capacity: usize) -> Self {
        Slots { entries: Slab::with_capacity(capacity), generation: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry and gives its key.
    pub fn insert(&mut self, entry: T) -> Key {
        // Wraps after four thousand million connections; the largest value stays free for tokens of other sources.
        self.generation = if self.generation >= u32::MAX - 1 { 0 } else { self.generation + 1 };
        let index = self.entries.insert((self.generation, entry));
        Key {
            index: u32::try_from(index).expect("fewer entries than descriptors"),
            generation: self.generation,
        }
    }

    /// The entry of a key, unless it is gone.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entries.get_mut(key.index as usize) {
            Some((generation, entry)) if *generation == key.generation => Some(entry),
            _ => None,
        }
    }

    /// The entry of a key, unless it is gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entries.get(key.index as usize) {
            Some((generation, entry)) if *generation == key.generation => Some(entry),
            _ => None,
        }
    }

    /// Takes the entry of a key out, unless it is gone.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.entries.remove(key.index as usize).1)
    }

    /// The keys of all entries.
    pub fn keys(&self) -> Vec<Key> {
        self.entries
            .iter()
            .map(|(index, (generation, _))| Key { index: index as u32, generation: *generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nobody_in_a_reused_slot() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "second"));
        assert_eq!(Key::from_u64(second.to_u64()), second);
    }

    #[test]
    fn the_highest_tokens_stay_free() {
        let mut slots = Slots::new();
        slots.generation = u32::MAX - 2;
        for _ in 0..3 {
            assert!(slots.insert(()).to_u64() < u64::MAX - (1 << 32));
        }
    }
}
