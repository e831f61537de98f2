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

/// Looks for the ways, as far as it is worth.
struct Search<H> {
    /// Whether the caller has something; `None` for somebody without anything.
    held: H,
    /// How many ways are kept at each node. Beyond it the smallest survive, so that what is found is enough still, if not the
    /// least.
    kept: usize,
}

const KEPT: usize = 32;

/// How many leaves are looked at in so many ways. Callers choose when they are refused, so a long rule is searched less
/// widely, and costs the square of its length at most.
const WIDELY: usize = 1_024;

// === impl Rule ===

impl Rule {
    /// What `caller` lacks, or what somebody without anything would need. `None` if nothing would help.
    pub(super) fn missing(&self, caller: Option<&Identity>, clock: &Clock) -> Option<Missing> {
        let held = |leaf: &Leaf| caller.map(|caller| leaf.truth(caller, clock));
        let kept = (WIDELY / self.leaves().max(1)).clamp(1, KEPT);
        let ways = Search { held, kept }.ways(self, true);
        let best = ways.first()?;
        Some(Missing::of(best, &ways))
    }

    fn leaves(&self) -> usize {
        match &self.0 {
            Node::Leaf(_) => 1,
            Node::Not(rule) => rule.leaves(),
            Node::Any(rules) | Node::All(rules) => rules.iter().map(Self::leaves).sum(),
        }
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

// === impl Search ===

impl<H: Fn(&Leaf) -> Option<Truth>> Search<H> {
    /// The ways to make `rule` hold, or to make it known not to hold, the best first.
    fn ways<'r>(&self, rule: &'r Rule, holds: bool) -> Vec<Way<'r>> {
        match (&rule.0, holds) {
            (Node::Leaf(leaf), true) => {
                vec![Way::with(leaf, (self.held)(leaf) == Some(Truth::Yes))]
            }
            // What the caller has cannot be taken away, and what is unknown stays so.
            (Node::Leaf(leaf), false) => match (self.held)(leaf) {
                None | Some(Truth::No) => vec![Way::without(leaf)],
                Some(Truth::Yes | Truth::Unknown) => Vec::new(),
            },
            (Node::Not(rule), holds) => self.ways(rule, !holds),
            (Node::Any(rules), true) | (Node::All(rules), false) => {
                let each = rules.iter().flat_map(|rule| self.ways(rule, holds));
                self.best(each.collect())
            }
            (Node::All(rules), true) | (Node::Any(rules), false) => {
                let start = vec![Way::default()];
                rules.iter().fold(start, |found, rule| {
                    self.best(both(found, &self.ways(rule, holds)))
                })
            }
        }
    }

    fn best<'r>(&self, mut ways: Vec<Way<'r>>) -> Vec<Way<'r>> {
        // Stable: of two equals the one that the rule names first.
        ways.sort_by_cached_key(Way::cost);
        ways.truncate(self.kept);
        ways
    }
}

fn both<'r>(found: Vec<Way<'r>>, more: &[Way<'r>]) -> Vec<Way<'r>> {
    // Long lists come one by one, and copies of what grows would make a square of them.
    if let [only] = more {
        let found = found.into_iter();
        return found.filter_map(|way| way.and(only)).collect();
    }
    let pairs = found
        .iter()
        .flat_map(|way| more.iter().map(move |other| (way, other)));
    pairs
        .filter_map(|(way, other)| way.clone().and(other))
        .collect()
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

    /// Both at once, if somebody can have all that they need and nothing that they avoid.
    fn and(mut self, other: &Self) -> Option<Self> {
        let is_possible = other.needs.iter().all(|new| self.allows(new))
            && self.needs.iter().all(|own| !other.is_spoilt_by(own));
        if !is_possible {
            return None;
        }
        for leaf in &other.needs {
            if !self.needs.contains(leaf) {
                self.needs.push(leaf);
            }
        }
        for leaf in &other.lacks {
            // Who gets the one has the other.
            if !self.lacks.iter().any(|own| own.brings(leaf)) {
                self.lacks.retain(|own| !leaf.brings(own));
                self.lacks.push(leaf);
            }
        }
        self.avoids.extend(&other.avoids);
        Some(self)
    }

    fn allows(&self, leaf: &Leaf) -> bool {
        !self.is_spoilt_by(leaf) && !self.needs.iter().any(|own| own.excludes(leaf))
    }

    fn is_spoilt_by(&self, leaf: &Leaf) -> bool {
        self.avoids.iter().any(|avoided| leaf.brings(avoided))
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
