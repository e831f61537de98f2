//! `[token_sources]`, `[identity_headers]`, `[[consumers]]`: where tokens are read, and which
//! identity data upstreams receive.

use portcullis::IdentityHeadersLayer;
use portcullis::propagate::IdentityField;

use super::build::problem;
use super::document::Item;
use super::model::{Callers, Consumer, IdentityHeader, IdentityValue, TokenSources};
use super::names::cookie;
use super::section::{Fault, Section};
use super::values::{claim, name, text};
use crate::headers::is_never_passed;

/// Keywords. Every other name is a claim.
const WORDS: [(&str, IdentityValue); 7] = [
    ("sub", IdentityValue::Subject),
    ("iss", IdentityValue::Issuer),
    ("client", IdentityValue::Client),
    ("roles", IdentityValue::Roles),
    ("scope", IdentityValue::Scopes),
    ("permissions", IdentityValue::Permissions),
    ("consumer", IdentityValue::Consumer),
];

pub(super) fn token_sources(root: &mut Section<'_>) -> TokenSources {
    let Some(mut section) = root.section("token_sources") else {
        return TokenSources::default();
    };
    let sources = TokenSources {
        cookie: section.get("cookie", text(cookie)),
        websocket_protocol: section.or("websocket_protocol", false, |item| item.flag()),
    };
    section.finish();
    sources
}

/// Header names that the library accepts, and that are not token sources.
pub(super) fn identity_headers(root: &mut Section<'_>) -> Vec<IdentityHeader> {
    let mut headers: Vec<IdentityHeader> = Vec::new();
    let Some(mut section) = root.section("identity_headers") else {
        return headers;
    };
    let mut accepted = IdentityHeadersLayer::none();
    for (name, item) in section.rest() {
        let header = identity_header(&name, &item, &accepted);
        let twin = headers
            .iter()
            .any(|own| own.name.as_str().eq_ignore_ascii_case(&name));
        match header {
            Ok(_) if twin => section.problem(
                &item.place,
                &name,
                "is given twice in different spellings: keep one",
            ),
            Ok((header, next)) => {
                headers.push(header);
                accepted = next;
            }
            Err(fault) => section.fault(&item.place, &name, fault),
        }
    }
    headers
}

fn identity_header(
    name: &str,
    item: &Item,
    accepted: &IdentityHeadersLayer,
) -> Result<(IdentityHeader, IdentityHeadersLayer), Fault> {
    let place = claim(item)?;
    let value = match place.0.as_slice() {
        [word] => WORDS.into_iter().find(|(own, _)| own == word),
        _ => None,
    };
    let value = value.map_or(IdentityValue::Claim(place), |(_, value)| value);
    let field = value.field().unwrap_or(IdentityField::Subject);
    let accepted = accepted.clone().header(name, field).map_err(problem)?;
    // The library itself rejects the other two token sources, `Cookie` and `Authorization`.
    if name.eq_ignore_ascii_case("sec-websocket-protocol") {
        return Err("this header is a token source: choose another name".into());
    }
    if is_never_passed(&name.to_ascii_lowercase()) {
        return Err("this header is never sent to upstreams: choose another name".into());
    }
    let header = IdentityHeader {
        place: item.place.clone(),
        name: name.parse().map_err(|_| "is not a header name")?,
        value,
    };
    Ok((header, accepted))
}

pub(super) fn consumers(root: &mut Section<'_>, plans: &[String]) -> Vec<Consumer> {
    let mut consumers: Vec<Consumer> = Vec::new();
    for section in root.sections("consumers") {
        let context = section.context;
        let Some(consumer) = consumer(section, plans) else {
            continue;
        };
        for other in &consumers {
            let text = if other.name == consumer.name {
                format!(
                    "consumer {:?} is already defined at {}",
                    consumer.name, other.place
                )
            } else if other.callers == consumer.callers {
                format!(
                    "these callers already belong to consumer {:?} at {}",
                    other.name, other.place
                )
            } else {
                continue;
            };
            context.problems.add(&consumer.place, text);
        }
        consumers.push(consumer);
    }
    consumers
}

fn consumer(mut section: Section<'_>, plans: &[String]) -> Option<Consumer> {
    let place = section.place.clone();
    let own_name = section.required("name", text(header_name));
    let given = (section.has("client"), section.has("subject"));
    let client = section.get("client", text(name)).map(Callers::Client);
    let subject = section.get("subject", text(name)).map(Callers::Subject);
    let plan_place = section.place_of("plan");
    let plan = section.get("plan", text(name));
    if let Some(unknown) = plan.as_ref().filter(|plan| !plans.contains(plan)) {
        let text = format!("names {unknown:?}, which is not in [plans]");
        section.problem(&plan_place, "plan", &text);
    }
    match given {
        (true, true) => section.problem(&place, "subject", "and `client` are both given: keep one"),
        (false, false) => section.problem(&place, "client", "or `subject` is required"),
        _ => {}
    }
    section.finish();
    Some(Consumer {
        place,
        name: own_name?,
        callers: client.or(subject)?,
        plan,
    })
}

/// The name may be sent in a header, as an element of a list.
fn header_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err(
            "use visible ASCII characters without commas and blanks, because the name may be sent in a header".to_owned(),
        );
    }
    Ok(text.to_owned())
}
