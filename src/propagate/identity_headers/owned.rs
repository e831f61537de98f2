//! The headers that belong to this service: nobody else's are let through.

use http::{HeaderMap, HeaderName};

use super::field::IdentityField;
use super::names;
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::rejection::Reason;

/// Which header tells what. No two names are one name in another spelling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owned(Vec<(HeaderName, IdentityField)>);

// === impl Owned ===

impl Owned {
    /// Adds a header, or changes what one of the same name tells.
    pub(crate) fn set(&mut self, name: &str, field: IdentityField) -> Result<(), ConfigError> {
        let refused = |problem| ConfigError::Header {
            name: name.to_owned(),
            problem,
        };
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused("this is no header name"))?;
        if names::is_reserved(name.as_str()) {
            return Err(refused(
                "messages, connections or other services depend on it: choose a name of your own",
            ));
        }
        let mut owned = self.0.iter_mut();
        match owned.find(|(own, _)| names::are_one(own.as_str(), name.as_str())) {
            Some((own, _)) if *own != name => Err(refused(
                "it is another spelling of a header that is set already: choose one",
            )),
            Some((_, own)) => {
                *own = field;
                Ok(())
            }
            None => {
                self.0.push((name, field));
                Ok(())
            }
        }
    }

    /// Adds a header of a preset, instead of any other spelling of it.
    pub(crate) fn preset(&mut self, name: &'static str, field: IdentityField) {
        self.0
            .retain(|(own, _)| !names::are_one(own.as_str(), name));
        self.0.push((HeaderName::from_static(name), field));
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Takes away whatever the client has to say, and says who it is.
    pub(crate) fn rewrite(
        &self,
        headers: &mut HeaderMap,
        identity: Option<&Identity>,
    ) -> Result<(), Reason> {
        // First, because a nominated header could otherwise be removed after it was set.
        names::apply_connection(headers);
        self.remove(headers);
        let Some(identity) = identity else {
            return Ok(());
        };
        for (name, field) in &self.0 {
            if let Some(value) = field.value(identity)? {
                headers.insert(name.clone(), value);
            }
        }
        Ok(())
    }

    fn remove(&self, headers: &mut HeaderMap) {
        let owned = |name: &&HeaderName| {
            let mut own = self.0.iter();
            own.any(|(own, _)| names::are_one(own.as_str(), name.as_str()))
        };
        // Empty for honest clients, and then nothing is allocated.
        let spoofed: Vec<HeaderName> = headers.keys().filter(owned).cloned().collect();
        for name in spoofed {
            headers.remove(name);
        }
    }
}
