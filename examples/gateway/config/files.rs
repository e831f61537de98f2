//! Files that a configuration names: certificates, keys and secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::model::File;
use super::section::{Fault, Section};

/// Reads files. Relative paths start at the configuration's folder.
pub(super) struct Files {
    folder: PathBuf,
}

/// Larger than any key set or certificate chain.
const MAX_BYTES: u64 = 1024 * 1024;

// === impl Files ===

impl Files {
    /// For the configuration in this file.
    pub(super) fn beside(file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        // This fails only for an empty path or without a working directory; then relative paths
        // fail as well.
        let folder = std::path::absolute(Path::new(".").join(folder));
        Self {
            folder: folder.unwrap_or_default(),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<File, String> {
        if name.is_empty() {
            return Err("the file name is empty".to_owned());
        }
        let path = self.folder.join(name);
        let content =
            read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if content.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(File { path, content })
    }
}

/// Reads a limited part, because a device may never end.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(content)
}

// === impl Section ===

impl Section<'_> {
    /// Reads a file with any content.
    pub(super) fn file(&mut self, key: &'static str) -> Option<File> {
        self.file_with(key, |_| Ok(()))
    }

    /// Reads a file with one or more certificates in PEM.
    pub(super) fn certificates(&mut self, key: &'static str) -> Option<File> {
        self.file_with(key, |content| {
            let found = reqwest::Certificate::from_pem_bundle(content);
            let some = found.ok().filter(|found| !found.is_empty());
            some.map(drop).ok_or("contains no certificate in PEM")
        })
    }

    /// Reads a file with a private key in PEM.
    pub(super) fn private_key(&mut self, key: &'static str) -> Option<File> {
        self.file_with(key, |content| {
            let label = b"PRIVATE KEY-----";
            let has_key = content.windows(label.len()).any(|window| window == label);
            has_key
                .then_some(())
                .ok_or("contains no private key in PEM")
        })
    }

    fn file_with(
        &mut self,
        key: &'static str,
        check: impl FnOnce(&[u8]) -> Result<(), &'static str>,
    ) -> Option<File> {
        let files = &self.context.files;
        self.get(key, |item| {
            let file = files.read(item.text()?)?;
            check(&file.content)
                .map_err(|problem| Fault::from(format!("{}: {problem}", file.path.display())))?;
            Ok(file)
        })
    }
}
