//! A list of names in two allocations, however many they are.

use std::fmt;

/// Roles, scopes or permissions, in the order of the token.
///
/// ```
/// # use portcullis::Names;
/// let names: Names = ["reader", "writer"].into_iter().collect();
/// assert!(names.contains("writer"));
/// assert!(!names.contains("reader writer"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    /// Every name, in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .filter_map(|(start, end)| self.text.get(start..end))
    }

    /// Whether `name` is one of them, compared exactly.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        // Most names differ in length, and so are told apart without a look at the text.
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

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Makes room for so many names of so many bytes in all.
    pub(crate) fn reserve(&mut self, names: usize, bytes: usize) {
        self.ends.reserve_exact(names);
        self.text.reserve_exact(bytes);
    }

    pub(crate) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }
}

impl<'n> FromIterator<&'n str> for Names {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let mut list = Self::default();
        names.into_iter().for_each(|name| list.push(name));
        list
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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
}
