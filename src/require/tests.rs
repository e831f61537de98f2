//! Rules against a truth table that is evaluated the slow way, and everything that must survive a round trip.

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

/// Small numbers that follow from a seed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    fn some(&mut self, of: &[&'static str]) -> Vec<&'static str> {
        of.iter().copied().filter(|_| self.roll(2) == 0).collect()
    }
}

/// A rule as the table knows it: told apart from the code under test by everything but its meaning.
#[derive(Clone, Debug)]
enum Asked {
    InList(&'static str, &'static str),
    Fits(&'static str),
    Covered(&'static str),
    Is(&'static str, &'static str),
    Member(&'static str, Value),
    AtLeast(&'static str, i64),
    There(&'static str),
    Group(&'static str),
    Recent(u64),
    Any(Vec<Asked>),
    All(Vec<Asked>),
    Not(Box<Asked>),
}

/// What is known of a caller, by name.
type Facts = BTreeMap<&'static str, Value>;

const ROLES: [&str; 3] = ["admin", "reader", "writer"];
const PERMISSIONS: [&str; 5] = ["order:read", "order:write", "order:*", "user:read", "*"];

fn asked(dice: &mut Dice, depth: usize) -> Asked {
    let inner = |dice: &mut Dice| {
        let count = dice.roll(4);
        (0..count).map(|_| asked(dice, depth - 1)).collect()
    };
    match dice.roll(if depth == 0 { 9 } else { 15 }) {
        0 => Asked::InList(
            dice.one(&["roles", "scopes", "permissions"]),
            dice.one(&ROLES),
        ),
        1 => Asked::InList("permissions", dice.one(&PERMISSIONS)),
        2 => Asked::Fits(dice.one(&["order:*", "*:read", "*:*", "*", "order:read"])),
        3 => Asked::Covered(dice.one(&["order:read", "user:read", "user:write", "x"])),
        4 => Asked::Is(
            dice.one(&["issuer", "subject", "client", "acr"]),
            dice.one(&["one", "two"]),
        ),
        5 => Asked::Member(
            dice.one(&["tenant", "level"]),
            dice.one(&[json!("one"), json!(2), json!(true)]),
        ),
        6 => Asked::AtLeast("level", dice.one(&[1, 2, 3])),
        7 => dice.one(&[
            Asked::There("tenant"),
            Asked::Group("one"),
            Asked::Group("two"),
        ]),
        8 => Asked::Recent(dice.one(&[60, 600])),
        9 | 10 => Asked::Any(inner(dice)),
        11 | 12 => Asked::All(inner(dice)),
        _ => Asked::Not(Box::new(asked(dice, depth - 1))),
    }
}

fn facts(dice: &mut Dice) -> Facts {
    let names = ["one", "two", "three"];
    let value = |dice: &mut Dice| match dice.roll(7) {
        0 | 1 => json!(dice.one(&names)),
        2 => json!(dice.roll(4)),
        3 => json!(true),
        4 => json!(dice.some(&names)),
        5 => json!([dice.one(&names), 7]),
        _ => Value::Null,
    };
    let mut facts = Facts::from([
        ("roles", json!(dice.some(&ROLES))),
        ("scopes", json!(dice.some(&ROLES))),
        ("permissions", json!(dice.some(&PERMISSIONS))),
        ("issuer", json!(dice.one(&names))),
        ("subject", json!(dice.one(&names))),
    ]);
    for name in ["tenant", "level", "groups", "acr"] {
        if dice.roll(3) > 0 {
            facts.insert(name, value(dice));
        }
    }
    if dice.roll(3) > 0 {
        facts.insert("client", json!(dice.one(&names)));
    }
    if dice.roll(3) > 0 {
        let age = [
            json!(NOW - 30),
            json!(NOW - 90),
            json!(NOW + 9000),
            json!("x"),
        ];
        facts.insert("auth_time", dice.one(&age));
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

fn rule(asked: &Asked) -> Rule {
    let list = |list: &[Asked]| list.iter().map(rule).collect::<Vec<_>>();
    match asked {
        Asked::InList("roles", name) => Rule::role(name),
        Asked::InList("scopes", name) => Rule::scope(name),
        Asked::InList(_, name) => Rule::permission(name),
        Asked::Fits(pattern) => Rule::permission_pattern(pattern),
        Asked::Covered(name) => Rule::permission_or_wildcard(name),
        Asked::Is("issuer", name) => Rule::issuer(name),
        Asked::Is("subject", name) => Rule::subject(name),
        Asked::Is("client", name) => Rule::client(name),
        Asked::Is(_, name) => Rule::acr(name),
        Asked::Member(name, value) => Rule::claim(*name, Predicate::contains(value.clone())),
        Asked::AtLeast(name, least) => Rule::claim(*name, Predicate::at_least(*least)),
        Asked::There(name) => Rule::claim([*name], Predicate::exists()),
        Asked::Group(name) => Rule::group(name),
        Asked::Recent(seconds) => Rule::max_age(Duration::from_secs(*seconds)),
        Asked::Any(rules) => Rule::any(list(rules)),
        Asked::All(rules) => Rule::all(list(rules)),
        Asked::Not(rule_) => !rule(rule_),
    }
}

/// The slow way: whether it is known that `asked` is so, or known that it is not, each for itself.
fn known(asked: &Asked, so: bool, facts: &Facts) -> bool {
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
    match asked {
        Asked::InList(list, name) => texts(facts, list).iter().any(|own| own == name) == so,
        Asked::Fits(pattern) => {
            let own = texts(facts, "permissions");
            own.iter().any(|own| covers(pattern, own)) == so
        }
        Asked::Covered(name) => {
            let own = texts(facts, "permissions");
            own.iter().any(|own| covers(own, name)) == so
        }
        Asked::Is("acr", name) => facts
            .get("acr")
            .is_some_and(|own| own.is_string() && (own == name) == so),
        Asked::Is(fact, name) => facts.get(fact).is_some_and(|own| own == name) == so,
        Asked::Member(name, value) => has(value, facts.get(name)),
        Asked::AtLeast(name, least) => {
            let number = facts.get(name).and_then(Value::as_i64);
            number.is_some_and(|number| (number >= *least) == so)
        }
        Asked::There(name) => facts.get(name).is_some_and(|value| !value.is_null()) == so,
        Asked::Group(name) => has(&json!(name), facts.get("groups")),
        Asked::Recent(seconds) => {
            let at = facts.get("auth_time").and_then(Value::as_u64);
            at.is_some_and(|at| at <= NOW + 60 && (at + seconds >= NOW) == so)
        }
        Asked::Any(rules) if so => rules.iter().any(|rule| known(rule, true, facts)),
        Asked::Any(rules) => rules.iter().all(|rule| known(rule, false, facts)),
        Asked::All(rules) if so => rules.iter().all(|rule| known(rule, true, facts)),
        Asked::All(rules) => rules.iter().any(|rule| known(rule, false, facts)),
        Asked::Not(rule) => known(rule, !so, facts),
    }
}

#[test]
fn a_hundred_thousand_rules_agree_with_the_truth_table() {
    let mut dice = Dice(6);
    let (clock, mut admitted) = (clock(), 0);
    for case in 0..100_000 {
        let (asked, facts) = (asked(&mut dice, 4), facts(&mut dice));
        let (rule, identity) = (rule(&asked), identity(&facts));
        let holds = rule.truth(&identity, &clock).is_yes();
        assert_eq!(
            holds,
            known(&asked, true, &facts),
            "case {case}: {rule} for {facts:?}"
        );
        admitted += usize::from(holds);
    }
    // A table of one column would prove nothing.
    assert!((20_000..80_000).contains(&admitted), "{admitted}");
}

#[test]
fn a_missing_claim_never_admits_whom_the_claim_could_keep_out() {
    /// `exists` is the one question about absence.
    fn asks_for_absence(asked: &Asked) -> bool {
        match asked {
            Asked::There(_) => true,
            Asked::Any(rules) | Asked::All(rules) => rules.iter().any(asks_for_absence),
            Asked::Not(rule) => asks_for_absence(rule),
            _ => false,
        }
    }
    let mut dice = Dice(7);
    let (clock, mut tried) = (clock(), 0);
    for _ in 0..20_000 {
        let (asked, whole) = (asked(&mut dice, 4), facts(&mut dice));
        if asks_for_absence(&asked) {
            continue;
        }
        let mut without = whole.clone();
        without.remove(dice.one(&["tenant", "level", "groups", "acr", "auth_time"]));
        let rule = rule(&asked);
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
fn rules_survive_their_text_and_their_configuration() {
    let mut dice = Dice(8);
    for _ in 0..10_000 {
        let rule = rule(&asked(&mut dice, 4));
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
fn any_name_survives_a_round_trip() {
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
fn the_syntax_of_the_configuration_is_strict() {
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
    check(
        r#"{ rolle = "admin" }"#,
        Err("there is no \"rolle\": use role, scope, "),
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
    check(r#"{ claim = "a" }"#, Err("say what the claim must be"));
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
    // Values nest too.
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
fn a_text_that_is_no_rule_says_where_and_why() {
    for (text, at, part) in [
        ("", 0, "begin with"),
        ("admin", 0, "begin with"),
        ("any(role:a, rolle:b)", 12, "begin with"),
        ("any(role:a role:b)", 11, "comma"),
        ("any(role:a", 10, "comma"),
        ("role:", 5, "give a name"),
        ("role:a role:b", 6, "one rule"),
        ("not(role:a, role:b)", 10, "after one rule"),
        ("role:\"a", 5, "JSON value"),
        ("max_age:5m", 9, "one rule"),
        ("max_age:soon", 8, "whole seconds"),
        ("claim(a)", 7, "follow the claim"),
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
fn roles_scopes_and_permissions_are_told_apart() {
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
fn the_time_of_a_login_is_read_as_other_times_are() {
    let rule = Rule::max_age(Duration::from_secs(60));
    let now = NOW as f64;
    for (at, holds, opposite) in [
        (json!(NOW - 60), true, false),
        (json!(NOW - 61), false, true),
        (json!(now - 60.5), false, true),
        (json!(now - 59.5), true, false),
        // A clock that runs ahead, and one that is wrong.
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

/// The layer is asked, and not the rule: a rule is never even shown an anonymous caller.
#[test]
fn a_missing_identity_is_refused_by_every_rule() {
    let mut dice = Dice(10);
    for case in 0..2_000 {
        let rule = rule(&asked(&mut dice, 4));
        for rule in [rule.clone(), !rule] {
            let text = rule.to_string();
            let gate = service::RequireGate::new(rule.into());
            let mut request = http::Request::new(());
            request.extensions_mut().insert(Caller::Anonymous);
            let watch = Stopwatch::start(false, request.extensions());
            match gate.begin(&mut request, watch) {
                Begin::Reject(refusal) if refusal.reason() == Reason::MissingToken => {}
                _ => panic!("case {case}: {text} lets strangers in"),
            }
        }
    }
}

#[test]
fn operators_build_what_words_build() {
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
fn a_nested_any_does_not_leak_out_of_its_all() {
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

    fn nobody_in_particular() -> Identity {
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
    fn the_smallest_set_is_named() {
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
        // Nobody becomes another client.
        check(
            "any(client:x, all(role:a, role:b))",
            &me,
            Some("role:a, role:b"),
        );
    }

    #[test]
    fn the_challenge_names_all_scopes_of_the_way_and_no_others() {
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
    fn another_login_is_asked_for_where_it_is_all_that_is_missing() {
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

    /// Among all sets of names that would have been enough, none is smaller.
    #[test]
    fn no_smaller_set_would_have_been_enough() {
        const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
        fn asked(dice: &mut Dice, depth: usize) -> Rule {
            let count = dice.roll(4);
            match dice.roll(if depth == 0 { 1 } else { 4 }) {
                0 => Rule::role(dice.one(&NAMES)),
                1 => Rule::any(
                    (0..count)
                        .map(|_| asked(dice, depth - 1))
                        .collect::<Vec<_>>(),
                ),
                2 => Rule::all(
                    (0..count)
                        .map(|_| asked(dice, depth - 1))
                        .collect::<Vec<_>>(),
                ),
                _ => !asked(dice, depth - 1),
            }
        }
        fn names(bits: usize) -> Vec<&'static str> {
            (0..5)
                .filter(|at| bits & (1 << at) != 0)
                .map(|at| NAMES[at])
                .collect()
        }
        let (mut dice, mut refused) = (Dice(9), 0);
        for _ in 0..3_000 {
            let (rule, own) = (asked(&mut dice, 3), dice.roll(32));
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
    fn a_rule_of_many_ways_is_answered_in_bounded_time() {
        let many = |at: usize| Rule::any((0..20).map(|n| Rule::role(format!("{at}-{n}"))));
        let rule = Rule::all((0..50).map(many));
        let missing = of(&rule, &nobody_in_particular()).unwrap();
        assert_eq!(missing.text.split(", ").count(), 50);
    }

    /// Callers choose when they are refused, so this must not become expensive: it was cubic once.
    #[test]
    fn a_rule_of_ten_thousand_leaves_is_answered_before_the_caller_loses_patience() {
        let roles = |word: &str, count: usize| {
            let names = (0..count).map(|at| format!("{word}-{at}"));
            names.map(Rule::role).collect::<Vec<_>>()
        };
        let listed = Rule::any((0..10_000).map(|at| Rule::client(at.to_string())));
        let one = Rule::any(roles("one", 32));
        let rule = Rule::all(roles("all", 500)) & one.clone() & !listed.clone();
        let missing = of(&rule, &nobody_in_particular()).unwrap();
        assert_eq!(missing.text.split(", ").count(), 501);
        let missing = of(&(listed.clone() | one), &nobody_in_particular()).unwrap();
        assert_eq!(missing.text, "role:one-0");
        // What is found in a hurry is enough, if not the least.
        let [a, b, c] = ["a", "b", "c"].map(Rule::role);
        let hidden = (a | b.clone()) & (b | c);
        let text = |rule: Rule| of(&rule, &nobody_in_particular()).unwrap().text;
        assert_eq!(text(hidden.clone()), "role:b");
        let long = hidden | Rule::all(roles("all", 2_000));
        assert_eq!(text(long), "role:a, role:b");
        assert_eq!(
            of(&(listed & Rule::nobody()), &nobody_in_particular()),
            None
        );
    }
}

mod cases {
    use http::Method;

    use super::*;

    #[test]
    fn the_more_particular_rule_wins_in_whatever_order_they_are_given() {
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
    }
}
