//! The faults, by their ids in the document.

use std::time::Duration;

use super::replies::{self as reply, Keys, METADATA, Page, both, ok, ok_with, raw, set, status};
use super::site::{Request, Step};

/// How an issuer misbehaves. It published the old key before and publishes the new one from then
/// on.
pub(super) struct Fault {
    /// What is published before. If `None`, keys were never fetched.
    pub(super) before: Option<Page>,
    /// Responses at the URL of the keys and at all other URLs.
    pub(super) keys: Page,
    /// Responses at the URL of the metadata.
    pub(super) metadata: Page,
    /// Whether the keys are found through the metadata.
    pub(super) is_discovered: bool,
    /// The time from the last fetch until tokens arrive.
    pub(super) after: Duration,
    pub(super) event: Event,
    pub(super) forger: Forger,
    /// The time limit of one request.
    pub(super) timeout: Duration,
    /// The error of the fetch, if the responses do not determine it.
    pub(super) error: Option<&'static str>,
    /// Whether the fault does not end.
    pub(super) is_lasting: bool,
    pub(super) cooldown: Duration,
}

/// What else happens when the fault begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Nothing,
    /// No process listens at the issuer's address.
    Refusal,
    /// 1,000 unknown kids while the issuer still works.
    Flood,
    /// An hour of the fault with tokens all the time.
    Outage,
    /// Wall time is set to these seconds.
    WallClock(u64),
}

/// Who signs the forged tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Forger {
    /// With an unpublished key, under the `kid` of the known key.
    Stranger,
    /// With a key that was published with its private members.
    Thief,
    /// With a published secret, HS256.
    Secret,
}

const MINUTE: Duration = Duration::from_secs(60);
/// After 75 % of the default time to live, so that a refresh is due with any jitter.
const DUE: Duration = Duration::from_secs(9 * 60);
const YEAR: u64 = 366 * 86_400;
pub(super) const START: u64 = 1_800_000_000;

pub(super) fn all() -> Vec<(&'static str, Fault)> {
    let mut all = super::answers::broken_transport();
    all.extend(super::answers::wrong_answers());
    all.extend(key_sets());
    all.extend(rotations());
    all.extend(caching());
    all.extend(discovery());
    all.extend(time());
    all
}

fn key_sets() -> Vec<(&'static str, Fault)> {
    vec![
        ("empty-object", of(|_, _| ok("{}"))),
        ("empty-set", of(|_, _| ok(r#"{"keys":[]}"#))),
        (
            "keys-twice",
            of(|keys, _| ok(format!(r#"{{"keys":[],{}"#, &both(keys)[1..]))),
        ),
        (
            "unusable-keys",
            of(|keys, _| ok(set(&reply::unusable(keys).iter().collect::<Vec<_>>()))),
        ),
        (
            "poisoned-key",
            of(|keys, _| ok(reply::among(&reply::unusable(keys), keys))),
        ),
        (
            "deep-key",
            of(|keys, _| {
                let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
                ok(both(keys).replacen('[', &format!("[{deep},"), 1))
            }),
        ),
        (
            "duplicate-kid",
            of(|keys, _| {
                let double = reply::with(&keys.leaked, "kid", keys.old["kid"].clone());
                ok(set(&[&keys.old, &double, &keys.new]))
            }),
        ),
        (
            "same-key-twice",
            of(|keys, _| ok(set(&[&keys.old, &keys.old, &keys.new]))),
        ),
        (
            "private-members",
            of(|keys, _| {
                let private = reply::with(&keys.leaked, "d", "c2VjcmV0");
                ok(set(&[&keys.old, &private, &keys.new]))
            })
            .forged_by(Forger::Thief),
        ),
        (
            "oct-keys",
            of(|keys, _| ok(set(&[&keys.old, &reply::secret(), &keys.new])))
                .forged_by(Forger::Secret),
        ),
        ("256-keys", of(|keys, _| ok(reply::many(256, keys)))),
        (
            "257-keys",
            of(|keys, _| ok(reply::many(257, keys))).error("key_set"),
        ),
        (
            "10000-keys",
            of(|keys, _| ok(reply::many(10_000, keys))).error("too_large"),
        ),
    ]
}

fn rotations() -> Vec<(&'static str, Fault)> {
    let renamed: Page = |keys, _| {
        let reused = reply::with(&keys.new, "kid", keys.old["kid"].clone());
        ok(set(&[&reused, &keys.new]))
    };
    vec![
        ("unplanned-rotation", of(healthy).after(Duration::ZERO)),
        (
            "planned-rotation",
            of(healthy).before(healthy).after(Duration::ZERO),
        ),
        ("late-publication", of(old_only)),
        ("removal", of(new_only)),
        ("rotation-back", of(old_only).before(healthy)),
        ("kid-reused", of(renamed)),
        (
            "flood-before-rotation",
            of(healthy).after(Duration::ZERO).event(Event::Flood),
        ),
    ]
}

fn caching() -> Vec<(&'static str, Fault)> {
    let no_store: Page = |keys, _| ok_with("cache-control: no-store\r\n", both(keys));
    let max_age_0: Page = |keys, _| ok_with("cache-control: max-age=0\r\n", both(keys));
    let century: Page =
        |keys, _| ok_with("cache-control: max-age=3153600000\r\n", set(&[&keys.old]));
    let tagged: Page = |keys, _| ok_with("etag: \"1\"\r\n", set(&[&keys.old]));
    let half_a_minute = Duration::from_secs(30);
    vec![
        (
            "no-store",
            of(no_store).before(no_store).after(half_a_minute),
        ),
        (
            "max-age-0",
            of(max_age_0).before(max_age_0).after(half_a_minute),
        ),
        (
            "max-age-of-a-century",
            of(new_only).before(century).after(50 * MINUTE),
        ),
        (
            "304-for-ever",
            of(|keys, request| unchanged(request).unwrap_or_else(|| ok(both(keys)))).before(tagged),
        ),
        (
            "304-after-a-removal",
            of(|keys, request| unchanged(request).unwrap_or_else(|| ok(set(&[&keys.new]))))
                .before(tagged)
                .after(61 * MINUTE),
        ),
        (
            "304-unasked",
            of(|_, request| {
                assert_eq!(request.if_none_match, None);
                raw("HTTP/1.1 304 Not Modified\r\n\r\n")
            }),
        ),
    ]
}

/// The response of a proxy to a conditional request.
fn unchanged(request: &Request) -> Option<Vec<Step>> {
    let tag = request.if_none_match.as_deref()?;
    assert_eq!(tag, "\"1\"");
    Some(raw("HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"))
}

fn discovery() -> Vec<(&'static str, Fault)> {
    let other: Page =
        |keys, _| reply::metadata("https://id.example.com", &format!("{}/keys", keys.origin));
    let plain: Page = |keys, _| reply::metadata(&keys.origin, "http://id.example.com/keys");
    let moved: Page = |keys, _| reply::metadata(&keys.origin, &format!("{}/moved", keys.origin));
    vec![
        (
            "discovery-other-issuer",
            of(healthy).metadata(other).cold().error("discovery"),
        ),
        (
            "discovery-plain-http",
            of(healthy).metadata(plain).cold().error("discovery"),
        ),
        (
            "discovery-redirect",
            of(healthy)
                .metadata(|keys, _| reply::redirect(&format!("{}{METADATA}", keys.elsewhere)))
                .cold(),
        ),
        (
            "discovery-gone",
            of(healthy).metadata(|_, _| status("404 Not Found")),
        ),
        (
            "keys-moved",
            of(|keys, request| match request.path.as_str() {
                "/moved" => ok(both(keys)),
                _ => status("404 Not Found"),
            })
            .metadata(moved)
            .lasting(),
        ),
    ]
}

fn time() -> Vec<(&'static str, Fault)> {
    let down: Page = |_, _| status("503 Service Unavailable");
    let now = Duration::ZERO;
    vec![
        ("down-at-start", of(down).cold()),
        (
            "hanging-at-start",
            of(|_, _| vec![Step::Hang]).cold().impatient(),
        ),
        (
            "long-outage",
            of(down)
                .after(61 * Duration::from_secs(1))
                .event(Event::Outage),
        ),
        ("past-max-stale", of(down).after(70 * MINUTE)),
        (
            "clock-forward",
            of(healthy).after(now).event(Event::WallClock(START + YEAR)),
        ),
        (
            "clock-back",
            of(healthy).after(now).event(Event::WallClock(START - YEAR)),
        ),
        ("long-idle", of(healthy).after(69 * MINUTE)),
        ("month-idle", of(healthy).after(30 * 24 * 60 * MINUTE)),
    ]
}

pub(super) fn well_known(keys: &Keys, _: &Request) -> Vec<Step> {
    reply::metadata(&keys.origin, &format!("{}/keys", keys.origin))
}

/// Both keys.
pub(super) fn healthy(keys: &Keys, _: &Request) -> Vec<Step> {
    ok(both(keys))
}

pub(super) fn old_only(keys: &Keys, _: &Request) -> Vec<Step> {
    ok(set(&[&keys.old]))
}

pub(super) fn new_only(keys: &Keys, _: &Request) -> Vec<Step> {
    ok(set(&[&keys.new]))
}

/// A fault that begins when a refresh is due.
pub(super) fn of(keys: Page) -> Fault {
    Fault {
        before: Some(old_only),
        keys,
        metadata: well_known,
        is_discovered: false,
        after: DUE,
        event: Event::Nothing,
        forger: Forger::Stranger,
        timeout: Duration::from_secs(5),
        error: None,
        is_lasting: false,
        cooldown: Duration::from_secs(30),
    }
}

impl Fault {
    pub(super) fn is_due(&self) -> bool {
        self.before.is_none() || self.event == Event::Outage || self.after >= DUE
    }

    fn before(mut self, page: Page) -> Self {
        self.before = Some(page);
        self
    }

    pub(super) fn cold(mut self) -> Self {
        self.before = None;
        self
    }

    fn metadata(mut self, page: Page) -> Self {
        self.metadata = page;
        self.is_discovered = true;
        self
    }

    fn after(mut self, after: Duration) -> Self {
        self.after = after;
        self
    }

    pub(super) fn event(mut self, event: Event) -> Self {
        self.event = event;
        self
    }

    fn forged_by(mut self, forger: Forger) -> Self {
        self.forger = forger;
        self
    }

    pub(super) fn error(mut self, kind: &'static str) -> Self {
        self.error = Some(kind);
        self
    }

    pub(super) fn impatient(mut self) -> Self {
        self.error = Some("timed_out");
        self.timeout = Duration::from_millis(300);
        self
    }

    fn lasting(mut self) -> Self {
        self.is_lasting = true;
        self
    }
}
