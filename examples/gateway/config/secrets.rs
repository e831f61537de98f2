//! Secret values, given in the file or in a separate file.

use std::fmt;

use super::section::{Fault, Section};

/// Displays as `(redacted)`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

// === impl Secret ===

impl Secret {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the secret.
    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

// === impl Section ===

impl Section<'_> {
    /// Reads a secret from `key`, or from the file in `key_file` without its final newline.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        key_file: &'static str,
        check: impl FnOnce(Vec<u8>) -> Result<Secret, Fault>,
    ) -> Option<Secret> {
        if self.has(key) && self.has(key_file) {
            let place = self.place_of(key_file);
            self.problem(
                &place,
                key_file,
                &format!("and `{key}` are both given: keep one"),
            );
        }
        let files = &self.context.files;
        let given = self.get(key, |item| {
            Ok((item.text()?.as_bytes().to_vec(), item.place.clone()))
        });
        let read = self.get(key_file, |item| {
            let mut content = files.read(item.text()?)?.content;
            trim_line_end(&mut content);
            Ok((content, item.place.clone()))
        });
        let (name, given) = given
            .map(|given| (key, given))
            .or(read.map(|read| (key_file, read)))?;
        let (bytes, place) = given;
        check(bytes)
            .map_err(|fault| self.fault(&place, name, fault))
            .ok()
    }
}

fn trim_line_end(content: &mut Vec<u8>) {
    for end in [b'\n', b'\r'] {
        if content.last() == Some(&end) {
            content.pop();
        }
    }
}
