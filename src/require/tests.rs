//! Rules against a model that is evaluated the slow way, and round trips through text and serde.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::error::ConfigError;
use crate::gate::{Begin, Gate};
use crate::identity::tests::{caller, verified};
use crate::identity::{Caller, Identity, Verified};
use crate::observe::Stopwatch;
use crate::rejection::Reason;

const NOW: u64 = 1_800_000_000;

fn clock() -> Clock {
    ManualClock::at(NOW).into()
}

/// Pseudorandom numbers from a seed, so that a failure can be reproduced.
struct Random(u64);

impl Random {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        of.iter().copied().filter(|_| self.below(2) == 0).collect()
    }
}

/// A rule in the truth table, implemented independently of the code under test.
#[derive(Clone, Debug)]
enum Model {
    InList(&'static str, &'static str),
    Fits(&'static str),
    Covered(&'static str),
    Is(&'static str, &'static str),
    Member(&'static str, Value),
    AtLeast(&'static str, i64),
    Exists(&'static str),
    Group(&'static str),
    Recent(u64),
    Anonymous,
    Any(Vec<Model>),
    All(Vec<Model>),
    Not(Box<Model>),
}

/// The claims and lists of a caller, by name.
type Facts = BTreeMap<&'static str, Value>;

const ROLES: [&str; 3] = ["admin", "reader", "writer"];
const PERMISSIONS: [&str; 5] = ["order:read", "order:write", "order:*", "user:read", "*"];

fn model(random: &mut Random, depth: usize) -> Model {
    let inner = |random: &mut Random| {
        let count = random.below(4);
        (0..count).map(|_| model(random, depth - 1)).collect()
    };
    match random.below(if depth == 0 { 10 } else { 16 }) {
        0 => Model::InList(
            random.one(&["roles", "scopes", "permissions"]),
            random.one(&ROLES),
        ),
        1 => Model::InList("permissions", random.one(&PERMISSIONS)),
        2 => Model::Fits(random.one(&["order:*", "*:read", "*:*", "*", "order:read"])),
        3 => Model::Covered(random.one(&["order:read", "user:read", "user:write", "x"])),
        4 => Model::Is(
            random.one(&["issuer", "subject", "client", "acr"]),
            random.one(&["one", "two"]),
        ),
        5 => Model::Member(
            random.one(&["tenant", "level"]),
            random.one(&[json!("one"), json!(2), json!(true)]),
        ),
        6 => Model::AtLeast("level", random.one(&[1, 2, 3])),
        7 => random.one(&[
            Model::Exists("tenant"),
            Model::Group("one"),
            Model::Group("two"),
        ]),
        8 => Model::Recent(random.one(&[60, 600])),
        9 => Model::Anonymous,
        10 | 11 => Model::Any(inner(random)),
        12 | 13 => Model::All(inner(random)),
        _ => Model::Not(Box::new(model(random, depth - 1))),
    }
}

fn facts(random: &mut Random) -> Facts {
    let names = ["one", "two", "three"];
    let value = |random: &mut Random| match random.below(7) {
        0 | 1 => json!(random.one(&names)),
        2 => json!(random.below(4)),
        3 => json!(true),
        4 => json!(random.some(&names)),
        5 => json!([random.one(&names), 7]),
        _ => Value::Null,
    };
    let mut facts = Facts::from([
        ("roles", json!(random.some(&ROLES))),
        ("scopes", json!(random.some(&ROLES))),
        ("permissions", json!(random.some(&PERMISSIONS))),
        ("issuer", json!(random.one(&names))),
        ("subject", json!(random.one(&names))),
    ]);
    for name in ["tenant", "level", "groups", "acr"] {
        if random.below(3) > 0 {
            facts.insert(name, value(random));
        }
    }
    if random.below(3) > 0 {
        facts.insert("client", json!(random.one(&names)));
    }
    if random.below(3) > 0 {
        let age = [
            json!(NOW - 30),
            json!(NOW - 90),
            json!(NOW + 9000),
            json!("x"),
        ];
        facts.insert("auth_time", random.one(&age));
    }
    facts
}

fn texts(facts: &Facts, name: &str) -> Vec<String> {
    serde_json::from_value(facts[name].clone()).unwrap()
}

fn identity(facts: &Facts) -> Identity {
    let text = |name| facts.get(name).and_then(Value::as_str);
    let names = |name| texts(facts, name).iter().map(String::as_str).collect();
    Identity::new(Verified {
        issuer: text("issuer").unwrap().into(),
        subject: text("subject").unwrap().into(),
        client: text("client").map(Into::into),
        roles: names("roles"),
        scopes: names("scopes"),
        permissions: names("permissions"),
        payload: serde_json::to_vec(facts).unwrap(),
        ..verified()
    })
}

fn rule(model: &Model) -> Rule {
    let list = |list: &[Model]| list.iter().map(rule).collect::<Vec<_>>();
    match model {
        Model::InList("roles", name) => Rule::role(name),
        Model::InList("scopes", name) => Rule::scope(name),
        Model::InList(_, name) => Rule::permission(name),
        Model::Fits(pattern) => Rule::permission_pattern(pattern),
        Model::Covered(name) => Rule::permission_or_wildcard(name),
        Model::Is("issuer", name) => Rule::issuer(name),
        Model::Is("subject", name) => Rule::subject(name),
        Model::Is("client", name) => Rule::client(name),
        Model::Is(_, name) => Rule::acr(name),
        Model::Member(name, value) => Rule::claim(*name, Predicate::contains(value.clone())),
        Model::AtLeast(name, least) => Rule::claim(*name, Predicate::at_least(*least)),
        Model::Exists(name) => Rule::claim([*name], Predicate::exists()),
        Model::Group(name) => Rule::group(name),
        Model::Recent(seconds) => Rule::max_age(Duration::from_secs(*seconds)),
        Model::Anonymous => Rule::anonymous(),
        Model::Any(rules) => Rule::any(list(rules)),
        Model::All(rules) => Rule::all(list(rules)),
        Model::Not(rule_) => !rule(rule_),
    }
}

/// Whether `model` is known to hold (`so`), or known not to hold (`!so`), each computed by itself.
fn known(model: &Model, so: bool, facts: &Facts) -> bool {
    let kind = |value: &Value| match value {
        Value::String(_) => 1,
        Value::Number(_) => 2,
        Value::Bool(_) => 3,
        _ => 4,
    };
    let has = |value: &Value, list: Option<&Value>| {
        let list = match list {
            None | Some(Value::Null) => return false,
            Some(Value::Array(list)) => list.clone(),
            Some(other) => vec![other.clone()],
        };
        let alike = list.iter().all(|own| kind(own) == kind(value));
        let found = list.contains(value);
        if so { found } else { alike && !found }
    };
    let covers = |pattern: &str, name: &str| {
        let (pattern, name): (Vec<_>, Vec<_>) =
            (pattern.split(':').collect(), name.split(':').collect());
        let mut pairs = pattern.iter().zip(&name);
        pattern.len() == name.len()
            && pairs.all(|(own, other)| own == other || (*own == "*" && !other.is_empty()))
    };
    match model {
        Model::InList(list, name) => texts(facts, list).iter().any(|own| own == name) == so,
        Model::Fits(pattern) => {
            let own = texts(facts, "permissions");
            own.iter().any(|own| covers(pattern, own)) == so
        }
        Model::Covered(name) => {
            let own = texts(facts, "permissions");
            own.iter().any(|own| covers(own, name)) == so
        }
        Model::Is("acr", name) => facts
            .get("acr")
            .is_some_and(|own| own.is_string() && (own == name) == so),
        Model::Is(fact, name) => facts.get(fact).is_some_and(|own| own == name) == so,
        Model::Member(name, value) => has(value, facts.get(name)),
        Model::AtLeast(name, least) => {
            let number = facts.get(name).and_then(Value::as_i64);
            number.is_some_and(|number| (number >= *least) == so)
        }
        Model::Exists(name) => facts.get(name).is_some_and(|value| !value.is_null()) == so,
        Model::Group(name) => has(&json!(name), facts.get("groups")),
        Model::Recent(seconds) => {
            let at = facts.get("auth_time").and_then(Value::as_u64);
            at.is_some_and(|at| at <= NOW + 60 && (at + seconds >= NOW) == so)
        }
        Model::Anonymous => !so,
        Model::Any(rules) if so => rules.iter().any(|rule| known(rule, true, facts)),
        Model::Any(rules) => rules.iter().all(|rule| known(rule, false, facts)),
        Model::All(rules) if so => rules.iter().all(|rule| known(rule, true, facts)),
        Model::All(rules) => rules.iter().any(|rule| known(rule, false, facts)),
        Model::Not(rule) => known(rule, !so, facts),
    }
}

#[test]
fn rules_agree_with_truth_table() {
    let mut random = Random(6);
    let (clock, mut admitted) = (clock(), 0);
    for case in 0..100_000 {
        let (model, facts) = (model(&mut random, 4), facts(&mut random));
        let (rule, identity) = (rule(&model), identity(&facts));
        let holds = rule.truth(&identity, &clock).is_yes();
        assert_eq!(
            holds,
            known(&model, true, &facts),
            "case {case}: {rule} for {facts:?}"
        );
        admitted += usize::from(holds);
    }
    // A table with one answer proves nothing.
    assert!((20_000..80_000).contains(&admitted), "{admitted}");
}

#[test]
fn removing_a_claim_never_admits_a_caller() {
    /// `exists` is the only question about absence.
    fn asks_for_absence(model: &Model) -> bool {
        match model {
            Model::Exists(_) => true,
            Model::Any(rules) | Model::All(rules) => rules.iter().any(asks_for_absence),
            Model::Not(rule) => asks_for_absence(rule),
            _ => false,
        }
    }
    let mut random = Random(7);
    let (clock, mut tried) = (clock(), 0);
    for _ in 0..20_000 {
        let (model, whole) = (model(&mut random, 4), facts(&mut random));
        if asks_for_absence(&model) {
            continue;
        }
        let mut without = whole.clone();
        without.remove(random.one(&["tenant", "level", "groups", "acr", "auth_time"]));
        let rule = rule(&model);
        if rule.truth(&identity(&without), &clock).is_yes() {
            tried += 1;
            assert!(
                rule.truth(&identity(&whole), &clock).is_yes(),
                "{rule}: {without:?} passes, {whole:?} does not"
            );
        }
    }
    assert!(tried > 1_000, "{tried}");
}

#[test]
fn rules_survive_text_and_serde() {
    let mut random = Random(8);
    for _ in 0..10_000 {
        let rule = rule(&model(&mut random, 4));
        let text = rule.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&rule), "{text}");
        let json = serde_json::to_value(&rule).unwrap();
        assert_eq!(
            serde_json::from_value::<Rule>(json).unwrap(),
            rule,
            "{text}"
        );
        let toml = toml::to_string(&BTreeMap::from([("require", &rule)])).unwrap();
        let read: BTreeMap<String, Rule> = toml::from_str(&toml).unwrap();
        assert_eq!(read["require"], rule, "{toml}");
    }
}

#[test]
fn names_survive_text_and_serde() {
    for name in [
        "a",
        "",
        " ",
        "a b",
        "a,b",
        "a)",
        "(",
        "\"",
        "\\",
        "a\"b",
        "line\nbreak",
        "é",
        "\u{0}",
        "https://id.example.com/",
        "order:*",
        "[x]",
        "not(",
        "true",
        "7",
    ] {
        for rule in [
            Rule::role(name),
            Rule::subject(name),
            Rule::permission_pattern(name),
            Rule::claim(name, Predicate::is(name)),
            Rule::claim([name, name], Predicate::contains(name)),
            Rule::all([Rule::acr(name), !Rule::group(name)]),
        ] {
            let text = rule.to_string();
            assert_eq!(text.parse().as_ref(), Ok(&rule), "{text}");
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule, "{json}");
        }
    }
    for value in [
        json!(7),
        json!(-7),
        json!(2.5),
        json!(true),
        json!([1, "a"]),
        json!({"a": 1}),
    ] {
        let rule = Rule::not(Rule::claim("c", Predicate::is(value)));
        assert_eq!(rule.to_string().parse(), Ok(rule));
    }
}

#[test]
fn configuration_syntax_is_strict() {
    #[track_caller]
    fn check(toml: &str, expected: Result<&str, &str>) {
        let read = toml::from_str::<BTreeMap<String, Rule>>(&format!("require = {toml}"));
        match (read, expected) {
            (Ok(read), Ok(text)) => assert_eq!(read["require"].to_string(), text, "{toml}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{toml}: {error}");
            }
            (read, _) => panic!("{toml}: {read:?}"),
        }
    }
    check(
        r#"{ any = [{ role = "admin" }, { all = [{ scope = "orders:admin" }, { permission = "user:write" }] }] }"#,
        Ok("any(role:admin, all(scope:orders:admin, permission:user:write))"),
    );
    check(
        r#"{ not = { client = "acme-mobile" } }"#,
        Ok("not(client:acme-mobile)"),
    );
    check(
        r#"{ claim = ["org", "tenant"], is = "acme" }"#,
        Ok(r#"claim(["org","tenant"] is "acme")"#),
    );
    check(
        r#"{ at_least = 3, claim = "trust" }"#,
        Ok("claim(trust at_least 3)"),
    );
    check(
        r#"{ claim = "mfa", exists = true }"#,
        Ok("claim(mfa exists)"),
    );
    check(r#"{ max_age = 300 }"#, Ok("max_age:300"));
    check(r#"{ any = [] }"#, Ok("nobody"));
    check(r#"{ all = [] }"#, Ok("verified"));
    check(r#"{ verified = true }"#, Ok("verified"));
    check(r#"{ nobody = true }"#, Ok("nobody"));
    check(
        r#"{ any = [{ anonymous = true }, { all = [] }] }"#,
        Ok("any(anonymous, verified)"),
    );
    check(
        r#"{ anonymous = false }"#,
        Err("`anonymous` is always true"),
    );
    check(
        r#"{ rolle = "admin" }"#,
        Err("unknown \"rolle\": expected one of role, scope, "),
    );
    check(
        r#"{ role = "a", scope = "b" }"#,
        Err("give one form in each table"),
    );
    check(
        r#"{ role = "a", any = [] }"#,
        Err("give one form in each table"),
    );
    check(
        r#"{ role = "a", is = "b" }"#,
        Err("give one form in each table"),
    );
    check(
        r#"{ claim = "a", is = 1, contains = 1 }"#,
        Err("give one form in each table"),
    );
    check(r#"{ claim = "a" }"#, Err("add what the claim must be"));
    check(r#"{ is = "a" }"#, Err("name the claim"));
    check(
        r#"{ claim = "a", exists = false }"#,
        Err("put the rule into { not = .. }"),
    );
    check(r#"{}"#, Err("give one form in each table"));
    check(r#"{ role = ["a", "b"] }"#, Err("expected a string"));
    check(r#"{ any = { role = "a" } }"#, Err("a list of rules"));
    check(r#""admin""#, Err("a rule: give one form in each table"));
    check(r#"{ max_age = -1 }"#, Err("expected u64"));
    let deep = |depth: usize| {
        let mut text = r#"{ role = "a" }"#.to_owned();
        for _ in 0..depth {
            text = format!("{{ not = {text} }}");
        }
        text
    };
    let not = |depth: usize| format!("{}role:a{}", "not(".repeat(depth), ")".repeat(depth));
    check(&deep(31), Ok(&not(31)));
    check(&deep(32), Err("nest rules less deeply"));
    assert!(not(31).parse::<Rule>().is_ok());
    assert!(not(32).parse::<Rule>().is_err());
    assert!(not(100_000).parse::<Rule>().is_err());
    // Values are nested too.
    let list = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(format!("claim(a is {})", list(100)).parse::<Rule>().is_ok());
    for text in [
        format!("claim(a is {})", list(100_000)),
        format!("claim({} exists)", list(100_000)),
    ] {
        assert!(text.parse::<Rule>().is_err());
    }
    let json = format!(r#"{{ "claim": "a", "is": {} }}"#, list(100_000));
    assert!(serde_json::from_str::<Rule>(&json).is_err());
}

#[test]
fn parse_error_names_position_and_problem() {
    for (text, at, part) in [
        ("", 0, "expected one of role, "),
        ("admin", 0, "expected one of role, "),
        ("any(role:a, rolle:b)", 12, "expected one of role, "),
        ("any(role:a role:b)", 11, "comma"),
        ("any(role:a", 10, "comma"),
        ("role:", 5, "give a name"),
        ("role:a role:b", 6, "one rule"),
        ("not(role:a, role:b)", 10, "after one rule"),
        ("role:\"a", 5, "JSON value"),
        ("max_age:5m", 9, "one rule"),
        ("max_age:soon", 8, "whole seconds"),
        ("claim(a)", 7, "add what the claim must be"),
        ("claim(a is b)", 11, "JSON value"),
        ("claim([1] is 1)", 9, "list of names"),
        ("claim(a at_least 1.5)", 20, "whole number"),
    ] {
        match text.parse::<Rule>() {
            Err(ConfigError::Rule { at: found, problem }) => {
                assert!(
                    problem.contains(part) && found == at,
                    "{text}: {found} {problem}"
                );
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn roles_scopes_and_permissions_are_separate() {
    let me = caller(&["a"], &["b"], &["c"]);
    for (rule, holds) in [
        (Rule::role("a"), true),
        (Rule::scope("b"), true),
        (Rule::permission("c"), true),
        (Rule::role("b"), false),
        (Rule::scope("a"), false),
        (Rule::permission("a"), false),
        (Rule::role("A"), false),
        (Rule::role(""), false),
        (Rule::subject("alice"), true),
        (Rule::subject("bob"), false),
        (Rule::client("app"), false),
        (Rule::not(Rule::client("app")), true),
        (Rule::not(Rule::role("a")), false),
        (Rule::group("a"), false),
        (!Rule::group("a"), false),
        (!Rule::acr("a"), false),
        (!Rule::max_age(Duration::from_secs(1)), false),
        (Rule::claim(["deep", "er"], 7), true),
        (!Rule::claim(["deep", "er"], 8), true),
        (!Rule::claim(["deep", "not"], 8), false),
        (!Rule::claim("deep", 8), false),
        (!Rule::claim("deeper", Predicate::exists()), true),
        (Rule::nobody(), false),
        (Rule::verified(), true),
    ] {
        assert_eq!(rule.holds(&me), holds, "{rule}");
    }
}

#[test]
fn auth_time_is_read_like_other_dates() {
    let rule = Rule::max_age(Duration::from_secs(60));
    let now = NOW as f64;
    for (at, holds, opposite) in [
        (json!(NOW - 60), true, false),
        (json!(NOW - 61), false, true),
        (json!(now - 60.5), false, true),
        (json!(now - 59.5), true, false),
        // A clock that is ahead, and one that is wrong.
        (json!(NOW + 60), true, false),
        (json!(NOW + 61), false, false),
        (json!(1e300), false, false),
        (json!(-1), false, false),
        (json!(-0.5), false, false),
        (json!(NOW.to_string()), false, false),
        (json!([NOW]), false, false),
        (json!(true), false, false),
        (json!(null), false, false),
    ] {
        let payload = serde_json::to_vec(&json!({ "auth_time": at })).unwrap();
        let me = Identity::new(Verified {
            payload,
            ..verified()
        });
        let truth = |rule: &Rule| rule.truth(&me, &clock()).is_yes();
        assert_eq!(
            (truth(&rule), truth(&!rule.clone())),
            (holds, opposite),
            "{at}"
        );
    }
}

/// The layer itself, and not the rule alone.
fn admits_anonymous(rule: Rule) -> bool {
    let gate = service::RequireGate::new(rule.into());
    let mut request = http::Request::new(());
    request.extensions_mut().insert(Caller::Anonymous);
    let watch = Stopwatch::start(false, request.extensions());
    match gate.begin(&mut request, watch) {
        Begin::Admit(_) => true,
        Begin::Reject(rejection) => {
            assert_eq!(rejection.reason(), Reason::MissingToken);
            false
        }
        Begin::Wait(_) => panic!("a rule never waits"),
    }
}

/// Whether `model` is known to hold (`so`) or not to hold (`!so`) for an anonymous caller.
fn known_for_anonymous(model: &Model, so: bool) -> bool {
    let known = |model| known_for_anonymous(model, so);
    match model {
        Model::Anonymous => so,
        Model::Any(rules) | Model::All(rules) if rules.is_empty() => false,
        Model::Any(rules) if so => rules.iter().any(known),
        Model::Any(rules) => rules.iter().all(known),
        Model::All(rules) if so => rules.iter().all(known),
        Model::All(rules) => rules.iter().any(known),
        Model::Not(rule) => known_for_anonymous(rule, !so),
        _ => false,
    }
}

#[test]
fn anonymous_callers_agree_with_truth_table() {
    let (mut random, mut admitted) = (Random(11), 0);
    for case in 0..20_000 {
        let model = model(&mut random, 4);
        let rule = rule(&model);
        let expected = known_for_anonymous(&model, true);
        assert_eq!(rule.holds(None), expected, "case {case}: {rule}");
        assert_eq!(
            admits_anonymous(rule.clone()),
            expected,
            "case {case}: {rule}"
        );
        admitted += usize::from(expected);
    }
    assert!(admitted > 500, "{admitted}");
}

#[test]
fn rules_without_anonymous_refuse_anonymous_callers() {
    let (mut random, mut tried) = (Random(10), 0);
    while tried < 2_000 {
        let rule = rule(&model(&mut random, 4));
        if rule.to_string().contains("anonymous") {
            continue;
        }
        tried += 1;
        for rule in [rule.clone(), !rule] {
            assert!(!admits_anonymous(rule.clone()), "{rule}");
        }
    }
}

#[test]
fn anonymous_admits_anonymous_callers_alone() {
    let alice = caller(&["admin"], &[], &[]);
    let everyone = || Rule::anonymous() | Rule::verified();
    for (rule, for_anonymous, for_alice) in [
        (Rule::anonymous(), true, false),
        (everyone(), true, true),
        (Rule::anonymous() | Rule::role("admin"), true, true),
        (Rule::anonymous() | Rule::role("clerk"), true, false),
        (!Rule::anonymous(), false, true),
        (!!Rule::anonymous(), true, false),
        (Rule::anonymous() & Rule::role("admin"), false, false),
        (Rule::verified() & Rule::anonymous(), false, false),
        (Rule::all([Rule::anonymous()]), true, false),
        (everyone() & !Rule::role("clerk"), false, true),
    ] {
        assert_eq!(rule.holds(None), for_anonymous, "{rule}");
        assert_eq!(rule.holds(&alice), for_alice, "{rule}");
    }
    let explained = "\
✓ any of
  ✓ anonymous
  ? verified
";
    assert_eq!(everyone().explain(None), explained);
    let missing = Rule::anonymous().missing(Some(&alice), &clock()).unwrap();
    assert_eq!(missing.text, "anonymous");
    let both = Rule::anonymous() & Rule::scope("a");
    assert_eq!(both.missing(Some(&alice), &clock()), None);
}

/// The table of `docs/authorization.md` is made of the words and their first lines of rustdoc.
#[test]
fn guide_lists_every_word() {
    macro_rules! rows {
        ($(#[doc = $summary:literal] $(#[doc = $doc:literal])* $word:ident($name:ident) $Variant:ident $source:ident;)*) => {
            [$(concat!("| `", stringify!($word), "(", stringify!($name), ")` |", $summary, " |")),*]
        };
    }
    const PAGE: &str = include_str!("../../docs/authorization.md");
    for row in atom::names!(rows) {
        assert!(PAGE.lines().any(|line| line == row), "missing row: {row}");
    }
}

#[test]
fn operators_equal_constructors() {
    let [a, b, c] = ["a", "b", "c"].map(Rule::role);
    assert_eq!(
        a.clone() & b.clone() & !c.clone(),
        Rule::all([a.clone(), b.clone(), Rule::not(c.clone())])
    );
    assert_eq!(
        a.clone() | b.clone() & c.clone(),
        Rule::any([a, Rule::all([b, c])])
    );
}

#[test]
fn nested_any_stays_inside_its_all() {
    let inner = Rule::any([
        Rule::role("a"),
        Rule::all([Rule::role("b"), Rule::role("c")]),
    ]);
    let rule = Rule::all([Rule::role("x"), inner]);
    assert!(!rule.holds(&caller(&["b", "c"], &[], &[])));
    assert!(rule.holds(&caller(&["x", "b", "c"], &[], &[])));
}

mod missing {
    use super::super::missing::Missing;
    use super::*;

    fn caller_without_rights() -> Identity {
        caller(&[], &[], &[])
    }

    fn of(rule: &Rule, caller: &Identity) -> Option<Missing> {
        rule.missing(Some(caller), &clock())
    }

    #[track_caller]
    fn check(rule: &str, caller: &Identity, expected: Option<&str>) {
        let missing = of(&rule.parse().unwrap(), caller);
        assert_eq!(
            missing.as_ref().map(|missing| missing.text.as_str()),
            expected,
            "{rule}"
        );
    }

    #[test]
    fn names_smallest_set() {
        let me = caller(&["clerk"], &["orders:read"], &[]);
        check("any(role:a, all(scope:b, scope:c))", &me, Some("role:a"));
        check("any(all(scope:b, scope:c), role:a)", &me, Some("role:a"));
        check("any(role:a, scope:b)", &me, Some("scope:b"));
        check("any(role:a, role:b)", &me, Some("role:a"));
        check(
            "all(any(role:a, role:b), any(role:b, role:c))",
            &me,
            Some("role:b"),
        );
        check(
            "all(role:clerk, scope:orders:read, permission:x)",
            &me,
            Some("permission:x"),
        );
        check("all(any(role:a, role:b), not(role:a))", &me, Some("role:b"));
        check("not(role:clerk)", &me, None);
        check("not(any(role:a, role:clerk))", &me, None);
        check("nobody", &me, None);
        check("not(all(role:clerk, not(role:a)))", &me, Some("role:a"));
        check("all(acr:gold, acr:silver)", &me, None);
        check("all(role:a, not(claim(tenant is \"x\")))", &me, None);
        check(
            "all(permission:order:read, permission_pattern:order:*)",
            &me,
            Some("permission:order:read"),
        );
        check(
            "all(permission_pattern:order:*, permission:order:read)",
            &me,
            Some("permission:order:read"),
        );
        check("all(max_age:60, max_age:600)", &me, Some("max_age:60"));
        check("all(max_age:600, max_age:60)", &me, Some("max_age:60"));
        // A caller cannot become another client.
        check(
            "any(client:x, all(role:a, role:b))",
            &me,
            Some("role:a, role:b"),
        );
    }

    #[test]
    fn scope_lists_the_chosen_alternative_only() {
        let me = caller(&[], &["a"], &[]);
        let rule: Rule = "any(all(scope:a, scope:b), all(scope:c, scope:d))"
            .parse()
            .unwrap();
        assert_eq!(of(&rule, &me).unwrap().scope.as_deref(), Some("a b"));
        let nobody = rule.missing(None, &clock()).unwrap();
        assert_eq!(nobody.scope.as_deref(), Some("a b"));
        let rule: Rule = "all(scope:a, any(scope:b, scope:a))".parse().unwrap();
        let nobody = rule.missing(None, &clock()).unwrap();
        assert_eq!(nobody.scope.as_deref(), Some("a"));
        assert_eq!(Rule::role("a").missing(None, &clock()).unwrap().scope, None);
    }

    #[test]
    fn step_up_requires_nothing_but_a_login() {
        let me = caller(&["clerk"], &[], &[]);
        #[track_caller]
        fn check(rule: &str, me: &Identity, expected: (bool, Option<&str>, Option<u64>)) {
            let missing = of(&rule.parse().unwrap(), me).unwrap();
            let found = (
                missing.is_login,
                missing.acr_values.as_deref(),
                missing.max_age,
            );
            assert_eq!(found, expected, "{rule}");
        }
        check("acr:gold", &me, (true, Some("gold"), None));
        check(
            "all(role:clerk, any(acr:gold, acr:silver), max_age:60)",
            &me,
            (true, Some("gold silver"), Some(60)),
        );
        check("all(scope:a, max_age:9)", &me, (true, None, Some(9)));
        check("all(role:a, max_age:9)", &me, (false, None, Some(9)));
        check("scope:a", &me, (false, None, None));
    }

    #[test]
    fn no_smaller_set_is_enough() {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        fn model(random: &mut Random, depth: usize) -> Rule {
            let count = random.below(4);
            match random.below(if depth == 0 { 1 } else { 4 }) {
                0 => Rule::role(random.one(&NAMES)),
                1 => Rule::any(
                    (0..count)
                        .map(|_| model(random, depth - 1))
                        .collect::<Vec<_>>(),
                ),
                2 => Rule::all(
                    (0..count)
                        .map(|_| model(random, depth - 1))
                        .collect::<Vec<_>>(),
                ),
                _ => !model(random, depth - 1),
            }
        }
        fn names(bits: usize) -> Vec<&'static str> {
            (0..5)
                .filter(|at| bits & (1 << at) != 0)
                .map(|at| NAMES[at])
                .collect()
        }
        let (mut random, mut refused) = (Random(9), 0);
        for _ in 0..3_000 {
            let (rule, own) = (model(&mut random, 3), random.below(32));
            let me = caller(&names(own), &[], &[]);
            if rule.holds(&me) {
                continue;
            }
            refused += 1;
            let least = (0..32_usize)
                .filter(|with| with & own == own && rule.holds(&caller(&names(*with), &[], &[])))
                .map(|with| (with & !own).count_ones())
                .min();
            let missing = of(&rule, &me);
            let found = missing.as_ref().map(|missing| {
                let added = missing.text.split(", ").filter(|name| !name.is_empty());
                let added: Vec<&str> = added.map(|name| &name[5..]).collect();
                let mut all = names(own);
                all.extend(&added);
                assert!(rule.holds(&caller(&all, &[], &[])), "{rule} with {all:?}");
                u32::try_from(added.len()).unwrap()
            });
            assert_eq!(found, least, "{rule} for {:?}", names(own));
        }
        assert!(refused > 500, "{refused}");
    }

    #[test]
    fn rule_with_many_alternatives_is_bounded() {
        let many = |at: usize| Rule::any((0..20).map(|n| Rule::role(format!("{at}-{n}"))));
        let rule = Rule::all((0..50).map(many));
        let missing = of(&rule, &caller_without_rights()).unwrap();
        assert_eq!(missing.text.split(", ").count(), 50);
    }

    /// Clients can cause refusals at will, so the search must stay cheap: it was cubic once.
    #[test]
    fn rule_with_10_000_atoms_is_bounded() {
        let roles = |word: &str, count: usize| {
            let names = (0..count).map(|at| format!("{word}-{at}"));
            names.map(Rule::role).collect::<Vec<_>>()
        };
        let listed = Rule::any((0..10_000).map(|at| Rule::client(at.to_string())));
        let one = Rule::any(roles("one", 32));
        let rule = Rule::all(roles("all", 500)) & one.clone() & !listed.clone();
        let missing = of(&rule, &caller_without_rights()).unwrap();
        assert_eq!(missing.text.split(", ").count(), 501);
        let missing = of(&(listed.clone() | one), &caller_without_rights()).unwrap();
        assert_eq!(missing.text, "role:one-0");
        // A bounded search finds a sufficient set, not always the smallest.
        let [a, b, c] = ["a", "b", "c"].map(Rule::role);
        let hidden = (a | b.clone()) & (b | c);
        let text = |rule: Rule| of(&rule, &caller_without_rights()).unwrap().text;
        assert_eq!(text(hidden.clone()), "role:b");
        let long = hidden | Rule::all(roles("all", 2_000));
        assert_eq!(text(long), "role:a, role:b");
        assert_eq!(
            of(&(listed & Rule::nobody()), &caller_without_rights()),
            None
        );
    }
}

mod cases {
    use http::Method;

    use super::*;

    #[test]
    fn more_specific_rule_wins_in_any_order() {
        let [read, write, delete, head, list] =
            ["read", "write", "delete", "head", "list"].map(Rule::role);
        let rules = Rules::new()
            .method(Method::DELETE, delete.clone())
            .writes(write.clone())
            .path("/a.B/List", list.clone())
            .reads(read.clone());
        for (method, path, expected) in [
            (Method::GET, "/", &read),
            (Method::HEAD, "/", &read),
            (Method::OPTIONS, "/", &read),
            (Method::POST, "/", &write),
            (Method::PUT, "/", &write),
            (Method::PATCH, "/", &write),
            (Method::DELETE, "/", &delete),
            (Method::TRACE, "/", &Rule::nobody()),
            (Method::POST, "/a.B/List", &list),
            (Method::POST, "/a.B/List/", &write),
            (Method::POST, "/a.B/Lis%74", &write),
        ] {
            assert_eq!(rules.rule_for(&method, path), expected, "{method} {path}");
        }
        let rules = rules.method(Method::GET, list.clone());
        assert_eq!(rules.rule_for(&Method::HEAD, "/"), &list);
        let rules = rules.method(Method::HEAD, head.clone());
        assert_eq!(rules.rule_for(&Method::HEAD, "/"), &head);
        let rules = rules.otherwise(Rule::verified());
        assert_eq!(rules.rule_for(&Method::TRACE, "/"), &Rule::verified());
        assert_eq!(
            rules.to_string(),
            "/a.B/List role:list; DELETE role:delete; GET role:list; HEAD role:head; reads role:read; \
             writes role:write; otherwise verified"
        );
        assert_eq!(Rules::from(read.clone()).to_string(), "role:read");
        for rules in [rules, Rules::from(read), Rules::new()] {
            let toml = toml::to_string(&rules).unwrap();
            assert_eq!(
                toml::from_str::<Rules>(&toml).as_ref(),
                Ok(&rules),
                "{toml}"
            );
        }
    }

    #[test]
    fn configuration_of_rules_is_strict() {
        for (toml, part) in [
            ("read = { role = \"a\" }", "unknown field `read`"),
            ("reads = { rolle = \"a\" }", "unknown \"rolle\""),
            (
                "methods = { \"A B\" = { role = \"a\" } }",
                "\"A B\" is not a method",
            ),
            ("role = \"a\"", "unknown field `role`"),
        ] {
            let error = toml::from_str::<Rules>(toml).unwrap_err().to_string();
            assert!(error.contains(part), "{toml}: {error}");
        }
        assert_eq!(toml::from_str::<Rules>(""), Ok(Rules::new()));
    }
}
