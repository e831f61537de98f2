//! Prints the effective configuration as a file with every default filled in. Secrets are omitted.

mod route;

use std::fmt::{self, Display, Write};
use std::path::Path;
use std::time::Duration;

use super::issuers::PROFILES;
use super::model::{
    Callers, ClaimPlace, Configuration, CorsPreflight, IdentityValue, IssuerSettings, KeySource,
    Limit, RateLimitStore, RevocationStore,
};

/// A quoted string. TOML uses JSON's escapes, and escapes DEL as well.
struct Quoted<'t>(&'t str);

struct List<I>(I);

struct Span(Duration);

// === impl Configuration ===

impl Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen = \"{}\"", self.listen)?;
        match self.admin_listen {
            Some(address) => writeln!(f, "admin_listen = \"{address}\"")?,
            None => writeln!(f, "# admin_listen: none")?,
        }
        let proxies = self
            .trusted_proxies
            .networks()
            .map(|network| format!("\"{network}\""));
        writeln!(f, "trusted_proxies = {}", List(proxies))?;
        writeln!(f, "realm = {}", Quoted(&self.realm))?;
        writeln!(f, "request_timeout = {}", Span(self.request_timeout))?;
        writeln!(f, "max_body = {}", self.max_body)?;
        writeln!(f, "log = {}", Quoted(&self.log))?;
        let preflight = match self.cors_preflight {
            CorsPreflight::Authenticate => "authenticate",
            CorsPreflight::Pass => "pass",
        };
        writeln!(f, "cors_preflight = \"{preflight}\"")?;
        match &self.tls {
            None => writeln!(f, "# tls: none")?,
            Some(tls) => {
                writeln!(f, "\n[tls]\ncert = {}", path(&tls.cert.path))?;
                writeln!(f, "key = {}", path(&tls.key.path))?;
                match &tls.client_ca {
                    None => writeln!(f, "# client_ca: none")?,
                    Some(ca) => writeln!(f, "client_ca = {}", path(&ca.path))?,
                }
            }
        }
        self.issuers.iter().try_for_each(|own| issuer(f, own))?;
        writeln!(f, "\n[token_cache]\nmax_bytes = {}", self.token_cache)?;
        writeln!(f, "\n[token_sources]")?;
        match &self.token_sources.cookie {
            Some(name) => writeln!(f, "cookie = {}", Quoted(name))?,
            None => writeln!(f, "# cookie: none")?,
        }
        let websocket = self.token_sources.websocket_protocol;
        writeln!(f, "websocket_protocol = {websocket}")?;
        self.callers(f)?;
        self.limits(f)?;
        self.routes.iter().try_for_each(|own| route::print(f, own))
    }
}

impl Configuration {
    fn callers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n[identity_headers]")?;
        for header in &self.identity_headers {
            let name = header.name.as_str();
            writeln!(f, "{} = {}", Quoted(name), value_text(&header.value))?;
        }
        for consumer in &self.consumers {
            writeln!(f, "\n[[consumers]]\nname = {}", Quoted(&consumer.name))?;
            match &consumer.callers {
                Callers::Client(name) => writeln!(f, "client = {}", Quoted(name))?,
                Callers::Subject(name) => writeln!(f, "subject = {}", Quoted(name))?,
            }
            if let Some(plan) = &consumer.plan {
                writeln!(f, "plan = {}", Quoted(plan))?;
            }
        }
        for (name, plan) in &self.plans {
            let Limit {
                requests,
                per,
                burst,
            } = plan;
            let per = Span(*per);
            writeln!(
                f,
                "\n[plans.{}]\nrequests = {requests}\nper = {per}\nburst = {burst}",
                Quoted(name)
            )?;
        }
        Ok(())
    }

    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        store(f, &self.rate_limit_store)?;
        match &self.failed_auth_limit {
            None => writeln!(f, "\n# failed_auth_limit: none")?,
            Some(limit) => {
                let Limit { requests, per, .. } = limit;
                let per = Span(*per);
                writeln!(
                    f,
                    "\n[failed_auth_limit]\nrequests = {requests}\nper = {per}"
                )?;
            }
        }
        match self.revocation {
            None => writeln!(f, "\n# revocation: none"),
            Some(RevocationStore::Memory) => writeln!(f, "\n[revocation]\nkind = \"memory\""),
        }
    }
}

fn issuer(f: &mut fmt::Formatter<'_>, own: &IssuerSettings) -> fmt::Result {
    writeln!(f, "\n[[issuers]]\nissuer = {}", Quoted(&own.issuer))?;
    match &own.keys {
        KeySource::Discovery => writeln!(f, "# jwks_uri: from the issuer's metadata")?,
        KeySource::JwksUri(uri) => writeln!(f, "jwks_uri = {}", Quoted(uri))?,
        KeySource::JwksFile(file) => writeln!(f, "jwks_file = {}", path(&file.path))?,
        KeySource::PublicKeyFile(file) => writeln!(f, "public_key_file = {}", path(&file.path))?,
        KeySource::Secret(secret) => writeln!(f, "secret = \"{secret:?}\"")?,
    }
    if let Some(ca) = &own.ca {
        writeln!(f, "ca = {}", path(&ca.path))?;
    }
    let algorithms = own
        .algorithms
        .iter()
        .map(|algorithm| Quoted(algorithm.as_str()));
    writeln!(f, "audiences = {}", texts(&own.audiences))?;
    writeln!(f, "algorithms = {}", List(algorithms))?;
    writeln!(f, "token_types = {}", texts(&own.token_types))?;
    writeln!(f, "required_claims = {}", texts(&own.required_claims))?;
    writeln!(f, "leeway = {}", Span(own.leeway))?;
    writeln!(f, "max_token_bytes = {}", own.max_token_bytes)?;
    let profile = PROFILES.iter().find(|(_, profile)| *profile == own.profile);
    let profile = profile.map_or("generic", |(name, _)| name);
    writeln!(f, "profile = \"{profile}\"")?;
    writeln!(f, "subject_claim = {}", claim(&own.subject_claim))?;
    for (name, place) in [
        ("roles_claim", &own.roles_claim),
        ("permissions_claim", &own.permissions_claim),
    ] {
        match place {
            Some(place) => writeln!(f, "{name} = {}", claim(place))?,
            None => writeln!(f, "# {name}: from the profile")?,
        }
    }
    let jwks = &own.jwks;
    writeln!(f, "[issuers.jwks]")?;
    for (name, duration) in [
        ("default_ttl", jwks.default_ttl),
        ("min_ttl", jwks.min_ttl),
        ("max_ttl", jwks.max_ttl),
        ("cooldown", jwks.cooldown),
        ("timeout", jwks.timeout),
        ("max_stale", jwks.max_stale),
    ] {
        writeln!(f, "{name} = {}", Span(duration))?;
    }
    Ok(())
}

fn store(f: &mut fmt::Formatter<'_>, own: &RateLimitStore) -> fmt::Result {
    writeln!(f, "\n[rate_limit_store]")?;
    let RateLimitStore::Redis(own) = own else {
        // All other keys of the section are unused.
        return writeln!(f, "kind = \"memory\"");
    };
    writeln!(f, "kind = \"redis\"\nurl = \"{:?}\"", own.url)?;
    match &own.secret {
        Some(secret) => writeln!(f, "secret = \"{secret:?}\"")?,
        None => writeln!(f, "# secret: none")?,
    }
    writeln!(f, "mode = \"{}\"", own.mode.name())?;
    writeln!(f, "on_error = \"{}\"", own.on_error.name())?;
    writeln!(f, "expected_nodes = {}", own.expected_nodes)
}

fn value_text(value: &IdentityValue) -> String {
    let word = match value {
        IdentityValue::Subject => "sub",
        IdentityValue::Issuer => "iss",
        IdentityValue::Client => "client",
        IdentityValue::Roles => "roles",
        IdentityValue::Scopes => "scope",
        IdentityValue::Permissions => "permissions",
        IdentityValue::Consumer => "consumer",
        IdentityValue::Claim(place) => return claim(place),
    };
    Quoted(word).to_string()
}

fn claim(place: &ClaimPlace) -> String {
    match place.0.as_slice() {
        [name] => Quoted(name).to_string(),
        _ => texts(&place.0).to_string(),
    }
}

fn path(path: &Path) -> String {
    Quoted(&path.to_string_lossy()).to_string()
}

fn texts(list: &[String]) -> List<impl Iterator<Item = Quoted<'_>> + Clone> {
    List(list.iter().map(|text| Quoted(text)))
}

// === impl Quoted ===

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::Value::from(self.0).to_string();
        f.write_str(&json.replace('\u{7f}', "\\u007f"))
    }
}

// === impl List ===

impl<I: Iterator<Item: Display> + Clone> Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        for (at, item) in self.0.clone().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{item}")?;
        }
        f.write_char(']')
    }
}

// === impl Span ===

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            millis if millis % 1000 != 0 => write!(f, "\"{millis}ms\""),
            millis => write!(f, "\"{}s\"", millis / 1000),
        }
    }
}
