//! What a refused caller lacks: the smallest set that would have been enough.

use std::cmp::Reverse;

use super::leaf::{Leaf, Source};
use super::rule::{Node, Rule};
use super::truth::Truth;
use crate::clock::Clock;
use crate::identity::Identity;

/// One way to fulfil a rule.
#[derive(Clone, Default)]
struct Way<'r> {
    /// All that it rests on, in the order of the rule: what the caller has and what it lacks.
    needs: Vec<&'r Leaf>,
    lacks: Vec<&'r Leaf>,
    /// What must stay away.
    avoids: Vec<&'r Leaf>,
}

/// What would have been enough.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// In words, for the log.
    pub(super) text: String,
    /// The scopes of a token that would do, those that the caller has included: a client asks for all of them at once.
    pub(super) scope: Option<String>,
    /// Any of these ways to log in would do, in the order of the rule.
    pub(super) acr_values: Option<String>,
    /// In seconds.
    pub(super) max_age: Option<u64>,
    /// Whether it takes another login, and nothing but another token (RFC 9470 section 3).
    pub(super) is_login: bool,
}

/// How many ways are kept. Beyond it the smallest survive, so that what is found is enough still, if not the least.
const KEPT: usize = 32;

// === impl Rule ===

impl Rule {
    /// What `caller` lacks, or what somebody without anything would need. `None` if nothing would help.
    pub(super) fn missing(&self, caller: Option<&Identity>, clock: &Clock) -> Option<Missing> {
        let held = |leaf: &Leaf| caller.map(|caller| leaf.truth(caller, clock));
        let ways = ways(self, true, &held);
        let best = ways.first()?;
        Some(Missing::of(best, &ways))
    }
}

// === impl Missing ===

impl Missing {
    fn of(best: &Way<'_>, all: &[Way<'_>]) -> Self {
        let text: Vec<String> = best.lacks.iter().map(ToString::to_string).collect();
        let mut scopes: Vec<&str> = Vec::new();
        let mut ages = Vec::new();
        for leaf in &best.needs {
            match leaf {
                Leaf::Scope(name) if !scopes.contains(&&**name) => scopes.push(name),
                Leaf::MaxAge(seconds) => ages.push(*seconds),
                _ => {}
            }
        }
        let is_login = |leaf: &&Leaf| matches!(leaf, Leaf::Acr(_) | Leaf::MaxAge(_));
        let is_token = best.lacks.iter().all(|leaf| leaf.source() == Source::Token);
        let values = acr_values(best, all);
        Self {
            text: text.join(", "),
            scope: joined(&scopes),
            acr_values: joined(&values),
            max_age: ages.into_iter().min(),
            is_login: is_token && best.lacks.iter().any(is_login),
        }
    }
}

fn joined(words: &[&str]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(" "))
}

/// The one that the best way needs, and those that would do in its place.
fn acr_values<'r>(best: &Way<'r>, all: &[Way<'r>]) -> Vec<&'r str> {
    let rest = |way: &Way<'r>| -> Vec<&'r Leaf> {
        let rest = way.lacks.iter().copied();
        rest.filter(|leaf| !matches!(leaf, Leaf::Acr(_))).collect()
    };
    let wanted = rest(best);
    let mut values = Vec::new();
    if !best.needs.iter().any(|leaf| matches!(leaf, Leaf::Acr(_))) {
        return values;
    }
    let equal = all
        .iter()
        .filter(|way| way.lacks.len() == best.lacks.len() && rest(way) == wanted);
    for leaf in equal.flat_map(|way| &way.needs) {
        match leaf {
            Leaf::Acr(value) if !values.contains(&&**value) => values.push(value),
            _ => {}
        }
    }
    values
}

/// The ways to make `rule` hold, or to make it known not to hold, the best first.
fn ways<'r>(rule: &'r Rule, holds: bool, held: &impl Fn(&Leaf) -> Option<Truth>) -> Vec<Way<'r>> {
    let found = match (&rule.0, holds) {
        (Node::Leaf(leaf), true) => vec![Way::with(leaf, held(leaf) == Some(Truth::Yes))],
        // What the caller has cannot be taken away, and what is unknown stays so.
        (Node::Leaf(leaf), false) => match held(leaf) {
            None | Some(Truth::No) => vec![Way::without(leaf)],
            Some(Truth::Yes | Truth::Unknown) => Vec::new(),
        },
        (Node::Not(rule), holds) => ways(rule, !holds, held),
        (Node::Any(rules), true) | (Node::All(rules), false) => {
            let each = rules.iter().flat_map(|rule| ways(rule, holds, held));
            each.collect()
        }
        (Node::All(rules), true) | (Node::Any(rules), false) => {
            let start = vec![Way::default()];
            rules.iter().fold(start, |found, rule| {
                best(both(&found, &ways(rule, holds, held)))
            })
        }
    };
    best(found)
}

fn both<'r>(found: &[Way<'r>], more: &[Way<'r>]) -> Vec<Way<'r>> {
    let pairs = found
        .iter()
        .flat_map(|way| more.iter().map(move |other| (way, other)));
    pairs.filter_map(|(way, other)| way.and(other)).collect()
}

fn best(mut ways: Vec<Way<'_>>) -> Vec<Way<'_>> {
    // Stable: of two equals the one that the rule names first.
    ways.sort_by_cached_key(Way::cost);
    ways.truncate(KEPT);
    ways
}

// === impl Way ===

impl<'r> Way<'r> {
    fn with(leaf: &'r Leaf, is_held: bool) -> Self {
        Self {
            needs: vec![leaf],
            lacks: if is_held { Vec::new() } else { vec![leaf] },
            avoids: Vec::new(),
        }
    }

    fn without(leaf: &'r Leaf) -> Self {
        Self {
            avoids: vec![leaf],
            ..Self::default()
        }
    }

    /// Both at once, if nobody would have to have and not have the same thing.
    fn and(&self, other: &Self) -> Option<Self> {
        let mut sum = self.clone();
        for leaf in &other.needs {
            if !sum.needs.contains(leaf) {
                sum.needs.push(leaf);
            }
        }
        for leaf in &other.lacks {
            if !sum.lacks.contains(leaf) {
                sum.lacks.push(leaf);
            }
        }
        sum.avoids.extend(&other.avoids);
        // Who gets the one has the other.
        let whole = sum.lacks.clone();
        let brought = |leaf: &&Leaf| {
            let mut others = whole.iter().filter(|own| **own != *leaf);
            others.any(|own| own.brings(leaf))
        };
        sum.lacks.retain(|leaf| !brought(leaf));
        sum.is_possible().then_some(sum)
    }

    fn is_possible(&self) -> bool {
        let is_avoided = |leaf: &&Leaf| self.avoids.iter().any(|avoided| leaf.brings(avoided));
        let is_excluded = |leaf: &&Leaf| self.needs.iter().any(|other| leaf.excludes(other));
        !self.needs.iter().any(is_avoided) && !self.needs.iter().any(is_excluded)
    }

    /// First who would have to be somebody else, then how much, then how much of it no client can ask for.
    fn cost(&self) -> (usize, usize, Reverse<usize>) {
        let count = |source| {
            let all = self.lacks.iter();
            all.filter(|leaf| leaf.source() == source).count()
        };
        (
            count(Source::Nature),
            self.lacks.len(),
            Reverse(count(Source::Token)),
        )
    }
}
