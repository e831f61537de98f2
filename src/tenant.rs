//! Issuers and URLs with a placeholder for a tenant: `https://id.example.com/realms/{tenant}`.
//!
//! Tenant names come from unverified tokens and are used in the path of a URL. So only names are
//! accepted that cannot change the rest of the URL.

use std::fmt;

use crate::error::ConfigError;
use crate::origin::Origin;

/// A URL with `{tenant}` as one segment of its path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TenantPattern {
    before: Box<str>,
    after: Box<str>,
}

/// The placeholder.
pub(crate) const PLACEHOLDER: &str = "{tenant}";

const MAX_BYTES: usize = 128;

// === impl TenantPattern ===

impl TenantPattern {
    /// Parses a configured pattern. Scheme, host and port are fixed. There is no query and no
    /// fragment.
    pub(crate) fn parse(url: &str) -> Result<Self, ConfigError> {
        let refuse = |problem| ConfigError::Url {
            url: crate::origin::without_secrets(url),
            problem,
        };
        let (before, after) = url.split_once(PLACEHOLDER).ok_or_else(|| {
            refuse("contains no `{tenant}`: add it in place of the tenant's name")
        })?;
        let (scheme, rest) = before
            .split_once("://")
            .ok_or_else(|| refuse("not absolute: add the scheme and the host"))?;
        let (authority, path) = rest
            .split_once('/')
            .ok_or_else(|| refuse("`{tenant}` may only be in the path: write the host in full"))?;
        let origin = Origin::parse(scheme, authority).map_err(refuse)?;
        if !origin.is_encrypted() && !origin.is_loopback() {
            return Err(refuse(
                "use https: over http an attacker on the network path can replace the keys",
            ));
        }
        if !(path.is_empty() || path.ends_with('/'))
            || !(after.is_empty() || after.starts_with('/'))
        {
            return Err(refuse("`{tenant}` must be a whole segment of the path"));
        }
        let is_plain = |segment: &str| segment.is_empty() || is_segment(segment);
        if !path.split('/').chain(after.split('/')).all(is_plain) {
            return Err(refuse(
                "use `{tenant}` once, and only letters, digits, `-`, `_` and `.` in the rest of the path",
            ));
        }
        Ok(Self {
            before: before.into(),
            after: after.into(),
        })
    }

    /// Returns the tenant in a URL that matches the pattern.
    pub(crate) fn tenant<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_prefix(&*self.before)?;
        let tenant = rest.strip_suffix(&*self.after)?;
        (tenant.len() <= MAX_BYTES && is_segment(tenant)).then_some(tenant)
    }
}

impl fmt::Display for TenantPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{PLACEHOLDER}{}", self.before, self.after)
    }
}

impl fmt::Debug for TenantPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether `name` is `template` with the tenant's name in place of the placeholder.
pub(crate) fn fits_template(template: &str, tenant: &str, name: &str) -> bool {
    let Some((before, after)) = template.split_once(PLACEHOLDER) else {
        return false;
    };
    let rest = name.strip_prefix(before);
    let rest = rest.and_then(|rest| rest.strip_suffix(after));
    rest == Some(tenant)
}

/// Letters, digits, `-`, `_` and `.`, without a leading dot. Excludes `..`, `.well-known`, escapes,
/// other alphabets and everything that ends a segment.
fn is_segment(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_is_one_plain_segment() {
        #[track_caller]
        fn check(pattern: &str, name: &str, expected: Option<&str>) {
            let pattern = TenantPattern::parse(pattern).unwrap();
            assert_eq!(pattern.tenant(name), expected, "{name}");
            if let Some(tenant) = expected {
                assert_eq!(pattern.to_string().replace(PLACEHOLDER, tenant), name);
            }
        }
        let realms = "https://id.example.com/realms/{tenant}";
        check(realms, "https://id.example.com/realms/acme", Some("acme"));
        check(
            realms,
            "https://id.example.com/realms/a_b-c.d9",
            Some("a_b-c.d9"),
        );
        let longest = "x".repeat(128);
        let name = format!("https://id.example.com/realms/{longest}");
        check(realms, &name, Some(&longest));
        check(realms, &format!("{name}x"), None);
        for tenant in [
            "",
            ".",
            "..",
            "...",
            ".well-known",
            "a/b",
            "a/",
            "/a",
            "a/../b",
            "a%2fb",
            "%2e%2e",
            "a?b",
            "a#b",
            "a@b",
            "a:b",
            "a\\b",
            "a b",
            "a\0",
            "a\n",
            "a;b",
            "a,b",
            "{tenant}",
            "é",
            "а",
            "a\u{200b}",
            "＠",
            "a*",
        ] {
            check(
                realms,
                &format!("https://id.example.com/realms/{tenant}"),
                None,
            );
        }
        for name in [
            "https://id.example.com/realms",
            "https://id.example.com/realms/",
            "http://id.example.com/realms/acme",
            "https://id.example.com:8443/realms/acme",
            "https://id.example.com.evil/realms/acme",
            "https://id.example.com@evil/realms/acme",
            "https://evil/?https://id.example.com/realms/acme",
            "HTTPS://id.example.com/realms/acme",
            "https://ID.example.com/realms/acme",
            " https://id.example.com/realms/acme",
        ] {
            check(realms, name, None);
        }
        let login = "https://login.example.com/{tenant}/v2.0";
        check(login, "https://login.example.com/acme/v2.0", Some("acme"));
        for name in [
            "https://login.example.com/acme/v2.0/",
            "https://login.example.com/acme/v2",
            "https://login.example.com/acme/v2.0/v2.0",
            "https://login.example.com//v2.0",
            "https://login.example.com/v2.0",
            "https://login.example.com/acme",
        ] {
            check(login, name, None);
        }
    }

    #[test]
    fn pattern_fixes_all_but_one_segment() {
        for url in [
            "https://id.example.com/{tenant}",
            "https://id.example.com/{tenant}/",
            "https://id.example.com:8443/realms/{tenant}/v2.0",
            "http://127.0.0.1:3000/{tenant}",
        ] {
            assert_eq!(TenantPattern::parse(url).unwrap().to_string(), url);
        }
        for url in [
            "https://id.example.com/",
            "https://id.example.com/{tenantid}",
            "https://{tenant}.example.com/",
            "https://{tenant}/",
            "https://id.example.com{tenant}",
            "https://id.example.com:{tenant}/",
            "https://id.example.com/t-{tenant}",
            "https://id.example.com/{tenant}-t",
            "https://id.example.com/{tenant}/{tenant}",
            "https://id.example.com/{tenant}?a=b",
            "https://id.example.com/?t={tenant}",
            "https://id.example.com/#{tenant}",
            "https://id.example.com/../{tenant}",
            "https://id.example.com/%2e%2e/{tenant}",
            "https://me@id.example.com/{tenant}",
            "http://id.example.com/{tenant}",
            "ftp://id.example.com/{tenant}",
            "id.example.com/{tenant}",
            "{tenant}",
        ] {
            assert!(TenantPattern::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn template_matches_its_tenant_only() {
        for (template, tenant, name, expected) in [
            ("api://{tenant}/orders", "acme", "api://acme/orders", true),
            ("{tenant}", "acme", "acme", true),
            (
                "api://{tenant}/orders",
                "acme",
                "api://globex/orders",
                false,
            ),
            ("api://{tenant}/orders", "acme", "api://acme/orders/", false),
            (
                "api://{tenant}/orders",
                "acme",
                "api://{tenant}/orders",
                false,
            ),
            ("aa{tenant}aa", "a", "aaaa", false),
            ("orders", "acme", "orders", false),
        ] {
            assert_eq!(
                fits_template(template, tenant, name),
                expected,
                "{template} {name}"
            );
        }
    }
}
