//! Reads a configuration file and the environment into a [`Configuration`], or returns all errors.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::document::{self, Item};
use super::files::{self, Files};
use super::model::{Configuration, CorsPreflight, Place, RevocationStore, Tls};
use super::names::{log, network, realm, socket};
use super::problems::{Invalid, Problem, Problems};
use super::route::References;
use super::section::{Context, Section};
use super::store::redis_url;
use super::values::{choice, period, size, text};
use super::{callers, environment, issuers, limits, route, routes, store};
use portcullis::client_address::TrustedProxies;

const MEBIBYTE: u64 = 1024 * 1024;

/// Reads `file` and applies the environment.
pub(crate) fn load(
    file: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Configuration, Invalid> {
    let name: Arc<str> = file.display().to_string().into();
    let at = |line| Place::Line {
        file: Arc::clone(&name),
        line,
    };
    let bytes = files::read(file).map_err(|error| {
        let place = Place::File(Arc::clone(&name));
        Problem::new(place, format!("cannot read the file: {error}"))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(valid);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Problem::new(at(line), "invalid UTF-8")
    })?;
    parse(&text, &name, Files::beside(file), variables)
}

/// Reads the text of a file.
pub(super) fn parse(
    text: &str,
    name: &Arc<str>,
    files: Files,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Configuration, Invalid> {
    let problems = Problems::default();
    let mut root = document::parse(text, name, &problems);
    // A document with syntax errors would produce misleading errors further down.
    let problems = problems.none(Some(Problems::default()))?;
    environment::apply(&mut root, variables, &problems);
    let context = Context {
        problems,
        warnings: Problems::default(),
        files,
    };
    let configuration = read(&context, root);
    context.problems.none(configuration)
}

fn read(context: &Context, root: Item) -> Option<Configuration> {
    let mut root = Section::root(context, root)?;
    let listen = root.or("listen", ([127, 0, 0, 1], 8080).into(), text(socket));
    let admin_place = root.place_of("admin_listen");
    let admin_listen = root.get("admin_listen", text(socket));
    if admin_listen.is_some_and(|admin| admin == listen && admin.port() != 0) {
        root.problem(
            &admin_place,
            "admin_listen",
            "equals `listen`: choose another port",
        );
    }
    let trusted_proxies = root.or("trusted_proxies", TrustedProxies::default(), |item| {
        TrustedProxies::new(item.all(text(network))?).map_err(|error| error.to_string().into())
    });
    let realm = root.or("realm", "api".to_owned(), text(realm));
    let request_timeout = root.or("request_timeout", Duration::from_secs(30), text(period));
    let max_body = root.or("max_body", 2 * MEBIBYTE, size);
    let log = root.or("log", "info".to_owned(), text(log));
    let preflights = [
        ("authenticate", CorsPreflight::Authenticate),
        ("pass", CorsPreflight::Pass),
    ];
    let cors_preflight = root.or(
        "cors_preflight",
        CorsPreflight::Authenticate,
        choice(&preflights),
    );
    let has_tls = root.has("tls");
    let tls = root.section("tls").and_then(tls);
    let token_cache = token_cache(&mut root);
    let revocation = revocation(&mut root, admin_listen.is_some());
    if admin_listen.is_some_and(|admin| admin.ip().is_unspecified()) {
        let text = match revocation {
            None => "is reachable from all networks, and exposes the configuration and metrics",
            Some(_) => "is reachable from all networks, and allows clients to revoke tokens",
        };
        root.warn(&admin_place, "admin_listen", text);
    }
    unsupported(&mut root);
    let has_issuers = root.has("issuers");
    let issuers = issuers::read(&mut root);
    let token_sources = callers::token_sources(&mut root);
    let identity_headers = callers::identity_headers(&mut root);
    let (plans, named) = limits::plans(&mut root);
    let consumers = callers::consumers(&mut root, &named);
    let rate_limit_store = store::read(&mut root);
    let failed_auth_limit = limits::failed_auth(&mut root);
    let others = References {
        request_timeout,
        consumers: &consumers,
        has_issuers,
    };
    let sections = root.sections("routes").into_iter();
    let routes: Vec<_> = sections
        .filter_map(|section| route::read(section, &others))
        .collect();
    routes::unreachable(&routes, &context.problems);
    root.finish();
    if has_tls && tls.is_none() {
        return None;
    }
    Some(Configuration {
        listen,
        admin_listen,
        trusted_proxies,
        realm,
        request_timeout,
        max_body,
        log,
        cors_preflight,
        token_cache,
        tls,
        issuers,
        token_sources,
        identity_headers,
        consumers,
        plans,
        rate_limit_store,
        failed_auth_limit,
        revocation,
        routes,
        warnings: context.warnings.take(),
    })
}

fn tls(mut section: Section<'_>) -> Option<Tls> {
    let place = section.place.clone();
    for key in ["cert", "key"] {
        if !section.has(key) {
            section.problem(&place, key, "is required");
        }
    }
    let cert = section.certificates("cert");
    let key = section.private_key("key");
    let has_client_ca = section.has("client_ca");
    let client_ca = section.certificates("client_ca");
    section.finish();
    // Otherwise an unreadable authority would disable client certificates.
    if has_client_ca && client_ca.is_none() {
        return None;
    }
    Some(Tls {
        place,
        cert: cert?,
        key: key?,
        client_ca,
    })
}

/// Rejects sections that are planned but not supported yet.
fn unsupported(root: &mut Section<'_>) {
    root.unsupported("mint", "remove the section, and `propagate = \"mint\"`");
    root.unsupported(
        "exchange",
        "remove the section, and `propagate = \"exchange\"`",
    );
}

fn revocation(root: &mut Section<'_>, has_admin: bool) -> Option<RevocationStore> {
    let mut section = root.section("revocation")?;
    let place = section.place.clone();
    let kind = section.or("kind", RevocationStore::Memory, |item| {
        match item.text()? {
        "redis" => Err(
            "\"redis\" is not supported yet: use \"memory\", and send each revocation to every instance"
                .into(),
        ),
        _ => choice(&[("memory", RevocationStore::Memory)])(item),
    }
    });
    // Reserved for a shared store; without effect so far.
    section.secret("url", "url_file", redis_url);
    section.get("when_stale", choice(&[("last-known", ()), ("closed", ())]));
    if !has_admin {
        let text =
            "needs `admin_listen`, through which revocations arrive: add it, or remove the section";
        root.problem(&place, "revocation", text);
    }
    section.finish();
    Some(kind)
}

fn token_cache(root: &mut Section<'_>) -> u64 {
    const DEFAULT: u64 = 64 * MEBIBYTE;
    let Some(mut cache) = root.section("token_cache") else {
        return DEFAULT;
    };
    let max_bytes = cache.or("max_bytes", DEFAULT, size);
    cache.finish();
    max_bytes
}
