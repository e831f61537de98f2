//! Files that a configuration names: certificates, keys, secrets.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::model::File;

/// Reads files, relative ones from the configuration's folder.
pub(super) struct Files {
    folder: PathBuf,
}

/// More than any key set or chain has.
const MAX_BYTES: u64 = 1024 * 1024;

// === impl Files ===

impl Files {
    /// For a configuration in this file.
    pub(super) fn beside(file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        // Only an empty path or a lost working directory fails, and then relative names fail as well.
        let folder = std::path::absolute(Path::new(".").join(folder));
        Self {
            folder: folder.unwrap_or_default(),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<File, String> {
        if name.is_empty() {
            return Err("name a file".to_owned());
        }
        let path = self.folder.join(name);
        let content =
            read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if content.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        Ok(File { path, content })
    }
}

/// A file that grows for ever, such as a device, is not read to its end.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it has more than 1 MiB"));
    }
    Ok(content)
}
