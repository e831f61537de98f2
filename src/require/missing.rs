//! What a refused caller lacks: the smallest set of atoms that would satisfy the rule.

use std::cmp::Reverse;

use super::atom::{Atom, Source};
use super::rule::{Node, Rule};
use super::truth::Truth;
use crate::clock::Clock;
use crate::identity::Identity;

/// One set of atoms that satisfies a rule.
#[derive(Clone, Default)]
struct Alternative<'r> {
    /// All atoms that must hold, in the order of the rule.
    needs: Vec<&'r Atom>,
    /// The subset of `needs` that the caller lacks.
    lacks: Vec<&'r Atom>,
    /// The atoms that must not hold.
    avoids: Vec<&'r Atom>,
}

/// The best alternative, in the form that challenges and logs need.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The atoms that the caller lacks, for the log.
    pub(super) text: String,
    /// The scopes to request. Scopes that the caller has are included: a token request lists them
    /// all.
    pub(super) scope: Option<String>,
    /// The accepted `acr` values, separated by spaces, in the order of the rule.
    pub(super) acr_values: Option<String>,
    /// In seconds.
    pub(super) max_age: Option<u64>,
    /// Whether a step-up is enough: another login and no more than another token (RFC 9470 section
    /// 3).
    pub(super) is_login: bool,
}

/// A bounded search for alternatives.
struct Search<H> {
    /// The answer for one atom; `None` if there is no caller.
    held: H,
    /// How many alternatives are kept at each node, the best first. A result that was found within
    /// this limit satisfies the rule, but may not be the smallest.
    kept: usize,
}

const KEPT: usize = 32;

/// The limit of atoms times alternatives. Clients can cause refusals at will, so fewer alternatives
/// are kept for long rules: the cost is at most quadratic in the length of the rule.
const BUDGET: usize = 1_024;

// === impl Rule ===

impl Rule {
    /// What `caller` lacks; without a caller, everything that the rule needs. `None` if the rule
    /// cannot be satisfied.
    pub(super) fn missing(&self, caller: Option<&Identity>, clock: &Clock) -> Option<Missing> {
        let held = |atom: &Atom| caller.map(|caller| atom.truth(caller, clock));
        let kept = (BUDGET / self.atoms().max(1)).clamp(1, KEPT);
        let alternatives = Search { held, kept }.alternatives(self, true);
        let best = alternatives.first()?;
        Some(Missing::of(best, &alternatives))
    }

    fn atoms(&self) -> usize {
        match &self.0 {
            Node::Atom(_) => 1,
            Node::Not(rule) => rule.atoms(),
            Node::Any(rules) | Node::All(rules) => rules.iter().map(Self::atoms).sum(),
        }
    }
}

// === impl Missing ===

impl Missing {
    fn of(best: &Alternative<'_>, all: &[Alternative<'_>]) -> Self {
        let text: Vec<String> = best.lacks.iter().map(ToString::to_string).collect();
        let mut scopes: Vec<&str> = Vec::new();
        let mut ages = Vec::new();
        for atom in &best.needs {
            match atom {
                Atom::Scope(name) if !scopes.contains(&&**name) => scopes.push(name),
                Atom::MaxAge(seconds) => ages.push(*seconds),
                _ => {}
            }
        }
        let is_login = |atom: &&Atom| acr(atom).is_some() || matches!(atom, Atom::MaxAge(_));
        let is_token = best.lacks.iter().all(|atom| atom.source() == Source::Token);
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

/// The `acr` of the best alternative, and the `acr` of each alternative that differs in nothing
/// else.
fn acr_values<'r>(best: &Alternative<'r>, all: &[Alternative<'r>]) -> Vec<&'r str> {
    let mut values = Vec::new();
    if !best.needs.iter().any(|atom| acr(atom).is_some()) {
        return values;
    }
    let rest = |alternative: &Alternative<'r>| -> Vec<&'r Atom> {
        let lacks = alternative.lacks.iter().copied();
        lacks.filter(|atom| acr(atom).is_none()).collect()
    };
    let wanted = rest(best);
    let equal = all.iter().filter(|alternative| {
        alternative.lacks.len() == best.lacks.len() && rest(alternative) == wanted
    });
    for value in equal
        .flat_map(|alternative| &alternative.needs)
        .filter_map(|atom| acr(atom))
    {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

fn acr(atom: &Atom) -> Option<&str> {
    match atom {
        Atom::Acr(value) => Some(value),
        _ => None,
    }
}

// === impl Search ===

impl<H: Fn(&Atom) -> Option<Truth>> Search<H> {
    /// The alternatives in which `rule` holds, or is known not to hold, the best first.
    fn alternatives<'r>(&self, rule: &'r Rule, holds: bool) -> Vec<Alternative<'r>> {
        match (&rule.0, holds) {
            (Node::Atom(atom), true) => {
                vec![Alternative::with(
                    atom,
                    (self.held)(atom) == Some(Truth::Yes),
                )]
            }
            // A caller cannot lose what it has, and an unknown atom stays unknown.
            (Node::Atom(atom), false) => match (self.held)(atom) {
                None | Some(Truth::No) => vec![Alternative::without(atom)],
                Some(Truth::Yes | Truth::Unknown) => Vec::new(),
            },
            (Node::Not(rule), holds) => self.alternatives(rule, !holds),
            (Node::Any(rules), true) | (Node::All(rules), false) => {
                let each = rules.iter().flat_map(|rule| self.alternatives(rule, holds));
                self.best(each.collect())
            }
            (Node::All(rules), true) | (Node::Any(rules), false) => {
                let start = vec![Alternative::default()];
                rules.iter().fold(start, |found, rule| {
                    self.best(both(found, &self.alternatives(rule, holds)))
                })
            }
        }
    }

    fn best<'r>(&self, mut alternatives: Vec<Alternative<'r>>) -> Vec<Alternative<'r>> {
        // A stable sort: of two equal ones, the first in the rule wins.
        alternatives.sort_by_cached_key(Alternative::cost);
        alternatives.truncate(self.kept);
        alternatives
    }
}

fn both<'r>(found: Vec<Alternative<'r>>, more: &[Alternative<'r>]) -> Vec<Alternative<'r>> {
    // A list of atoms arrives one by one; a copy of each step would make it quadratic.
    if let [only] = more {
        let found = found.into_iter();
        return found
            .filter_map(|alternative| alternative.and(only))
            .collect();
    }
    let pairs = found
        .iter()
        .flat_map(|alternative| more.iter().map(move |other| (alternative, other)));
    pairs
        .filter_map(|(alternative, other)| alternative.clone().and(other))
        .collect()
}

// === impl Alternative ===

impl<'r> Alternative<'r> {
    fn with(atom: &'r Atom, is_held: bool) -> Self {
        Self {
            needs: vec![atom],
            lacks: if is_held { Vec::new() } else { vec![atom] },
            avoids: Vec::new(),
        }
    }

    fn without(atom: &'r Atom) -> Self {
        Self {
            avoids: vec![atom],
            ..Self::default()
        }
    }

    /// Both at once, unless their needs exclude each other or are avoided.
    fn and(mut self, other: &Self) -> Option<Self> {
        let is_possible = other.needs.iter().all(|new| self.allows(new))
            && self.needs.iter().all(|own| !other.conflicts_with(own));
        if !is_possible {
            return None;
        }
        for atom in &other.needs {
            if !self.needs.contains(atom) {
                self.needs.push(atom);
            }
        }
        for atom in &other.lacks {
            // An atom that is implied need not be named.
            if !self.lacks.iter().any(|own| own.implies(atom)) {
                self.lacks.retain(|own| !atom.implies(own));
                self.lacks.push(atom);
            }
        }
        self.avoids.extend(&other.avoids);
        Some(self)
    }

    fn allows(&self, atom: &Atom) -> bool {
        !self.conflicts_with(atom) && !self.needs.iter().any(|own| own.excludes(atom))
    }

    fn conflicts_with(&self, atom: &Atom) -> bool {
        self.avoids.iter().any(|avoided| atom.implies(avoided))
    }

    /// Fewest fixed atoms first, then fewest atoms, then most atoms that a new token can bring.
    fn cost(&self) -> (usize, usize, Reverse<usize>) {
        let count = |source| {
            let all = self.lacks.iter();
            all.filter(|atom| atom.source() == source).count()
        };
        (
            count(Source::Fixed),
            self.lacks.len(),
            Reverse(count(Source::Token)),
        )
    }
}
