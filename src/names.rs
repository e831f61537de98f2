//! Roles, scopes and permissions as compact lists.

use std::fmt;
use std::iter::FusedIterator;

/// A list of names (roles, scopes or permissions) in the order of the token, in two allocations.
///
/// ```
/// # use portcullis::Names;
/// let names: Names = ["reader", "writer"].into_iter().collect();
/// assert!(names.contains("writer"));
/// assert!(!names.contains("reader writer"));
/// for name in &names {
///     println!("{name}");
/// }
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Names {
    text: String,
    ends: Vec<usize>,
}

/// The iterator of [`Names::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'n> {
    text: &'n str,
    start: usize,
    ends: std::slice::Iter<'n, usize>,
}

impl Names {
    /// The names in the order of the token.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            text: &self.text,
            start: 0,
            ends: self.ends.iter(),
        }
    }

    /// Whether the list has exactly this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        // Most names differ in length, which is cheaper to compare than their text.
        let mut start = 0;
        for &end in &self.ends {
            if end - start == name.len()
                && self.text.as_bytes().get(start..end) == Some(name.as_bytes())
            {
                return true;
            }
            start = end;
        }
        false
    }

    /// The number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Reserves memory for this many more names, with this many bytes in total.
    pub(crate) fn reserve(&mut self, names: usize, bytes: usize) {
        self.ends.reserve_exact(names);
        self.text.reserve_exact(bytes);
    }

    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    /// The size of the two allocations.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

impl<'n> Iterator for Iter<'n> {
    type Item = &'n str;

    fn next(&mut self) -> Option<&'n str> {
        let end = *self.ends.next()?;
        let name = self.text.get(self.start..end);
        self.start = end;
        name
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl FusedIterator for Iter<'_> {}

impl<'n> IntoIterator for &'n Names {
    type Item = &'n str;
    type IntoIter = Iter<'n>;

    fn into_iter(self) -> Iter<'n> {
        self.iter()
    }
}

impl<S: AsRef<str>> Extend<S> for Names {
    fn extend<I: IntoIterator<Item = S>>(&mut self, names: I) {
        names.into_iter().for_each(|name| self.push(name.as_ref()));
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut list = Self::default();
        list.extend(names);
        list
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_is_a_name() {
        let names: Names = ["", "a", ""].into_iter().collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), ["", "a", ""]);
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn names_behave_as_a_collection() {
        let mut names: Names = vec!["a".to_owned(), "b".to_owned()].into_iter().collect();
        names.extend(["c"]);
        let mut iter = names.iter();
        assert_eq!((iter.len(), iter.next()), (3, Some("a")));
        assert_eq!(iter.clone().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!((iter.len(), iter.last()), (2, Some("c")));
        let mut seen = Vec::new();
        for name in &names {
            seen.push(name);
        }
        assert_eq!(seen, ["a", "b", "c"]);
        let set = std::collections::HashSet::from([names.clone()]);
        assert!(set.contains(&names));
    }
}
