//! What a caller must have, as a value.

use std::fmt;

use crate::identity::Identity;

/// What a caller must have: a role, a scope, a permission, or a combination of them.
///
/// ```
/// use portcullis::Rule;
///
/// let rule = Rule::any([Rule::role("admin"), Rule::all([Rule::scope("orders:read"), Rule::role("clerk")])]);
/// assert_eq!(rule.to_string(), "any(role:admin, all(scope:orders:read, role:clerk))");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Role(Box<str>),
    Scope(Box<str>),
    Permission(Box<str>),
    Client(Box<str>),
    Subject(Box<str>),
    Any(Box<[Rule]>),
    All(Box<[Rule]>),
    Not(Box<Rule>),
}

impl Rule {
    /// The caller has this role.
    #[must_use]
    pub fn role(name: impl AsRef<str>) -> Self {
        Self(Node::Role(name.as_ref().into()))
    }

    /// The token was granted this scope.
    #[must_use]
    pub fn scope(name: impl AsRef<str>) -> Self {
        Self(Node::Scope(name.as_ref().into()))
    }

    /// The caller has this permission.
    #[must_use]
    pub fn permission(name: impl AsRef<str>) -> Self {
        Self(Node::Permission(name.as_ref().into()))
    }

    /// The token was issued to this client (`azp`, else `client_id`).
    #[must_use]
    pub fn client(id: impl AsRef<str>) -> Self {
        Self(Node::Client(id.as_ref().into()))
    }

    /// The caller is this subject. With several issuers a subject alone names nobody.
    #[must_use]
    pub fn subject(subject: impl AsRef<str>) -> Self {
        Self(Node::Subject(subject.as_ref().into()))
    }

    /// `rule` does not hold. An anonymous caller is refused all the same.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // a rule is made by its words, as the others are
    pub fn not(rule: Self) -> Self {
        Self(Node::Not(rule.into()))
    }

    /// At least one of `rules` holds. Of none, none does: an empty list admits nobody.
    #[must_use]
    pub fn any(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::Any(rules.into_iter().collect()))
    }

    /// Every one of `rules` holds. An empty list admits every verified caller.
    #[must_use]
    pub fn all(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Node::All(rules.into_iter().collect()))
    }

    /// Whether the rule holds for a caller.
    #[must_use]
    pub fn holds(&self, caller: &Identity) -> bool {
        match &self.0 {
            Node::Role(name) => caller.roles().contains(name),
            Node::Scope(name) => caller.scopes().contains(name),
            Node::Permission(name) => caller.permissions().contains(name),
            Node::Client(id) => caller.client() == Some(id),
            Node::Subject(subject) => caller.subject() == &**subject,
            Node::Any(rules) => rules.iter().any(|rule| rule.holds(caller)),
            Node::All(rules) => rules.iter().all(|rule| rule.holds(caller)),
            Node::Not(rule) => !rule.holds(caller),
        }
    }

    /// Whether a caller may be told the rule. Which clients and subjects it names is nobody else's business.
    pub(super) fn is_public(&self) -> bool {
        match &self.0 {
            Node::Role(_) | Node::Scope(_) | Node::Permission(_) => true,
            Node::Client(_) | Node::Subject(_) | Node::Not(_) => false,
            Node::Any(rules) | Node::All(rules) => rules.iter().all(Rule::is_public),
        }
    }

    /// Every scope that the rule names, between spaces, for a challenge (RFC 6750 section 3).
    pub(super) fn scopes(&self) -> Option<String> {
        let mut names = Vec::new();
        self.collect_scopes(&mut names);
        (!names.is_empty()).then(|| names.join(" "))
    }

    fn collect_scopes<'r>(&'r self, names: &mut Vec<&'r str>) {
        match &self.0 {
            Node::Scope(name) if !names.contains(&&**name) => names.push(name),
            Node::Any(rules) | Node::All(rules) => {
                rules.iter().for_each(|rule| rule.collect_scopes(names));
            }
            // Of what must not be there nothing is asked for.
            _ => {}
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, rules) = match &self.0 {
            Node::Role(name) => return write!(f, "role:{name}"),
            Node::Scope(name) => return write!(f, "scope:{name}"),
            Node::Permission(name) => return write!(f, "permission:{name}"),
            Node::Client(id) => return write!(f, "client:{id}"),
            Node::Subject(subject) => return write!(f, "subject:{subject}"),
            Node::Not(rule) => return write!(f, "not({rule})"),
            Node::Any(rules) => ("any", rules),
            Node::All(rules) => ("all", rules),
        };
        write!(f, "{name}(")?;
        for (at, rule) in rules.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{rule}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::tests::caller;

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
            (Rule::any([]), false),
            (Rule::all([]), true),
        ] {
            assert_eq!(rule.holds(&me), holds, "{rule}");
        }
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

    #[test]
    fn the_challenge_names_each_scope_once() {
        let rule = Rule::any([
            Rule::scope("a"),
            Rule::all([Rule::scope("b"), Rule::scope("a")]),
        ]);
        assert_eq!(rule.scopes().as_deref(), Some("a b"));
        assert_eq!(Rule::role("a").scopes(), None);
    }

    /// A rule over four roles, as a value and as the set of the role sets (as bits) for which it holds.
    fn rules() -> impl Strategy<Value = (Rule, u16)> {
        let leaf = (0_u16..4).prop_map(|at| {
            let holds = (0..16).filter(|roles| roles & (1 << at) != 0);
            (
                Rule::role(at.to_string()),
                holds.fold(0, |all, roles| all | 1 << roles),
            )
        });
        leaf.prop_recursive(4, 32, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4);
            let not = inner.prop_map(|(rule, table)| (Rule::not(rule), !table));
            let combined =
                (list, any::<bool>()).prop_map(|(list, any): (Vec<(Rule, u16)>, bool)| {
                    let (rules, tables): (Vec<_>, Vec<u16>) = list.into_iter().unzip();
                    if any {
                        (
                            Rule::any(rules),
                            tables.iter().fold(0, |all, table| all | table),
                        )
                    } else {
                        (
                            Rule::all(rules),
                            tables.iter().fold(u16::MAX, |all, table| all & table),
                        )
                    }
                });
            prop_oneof![3 => combined, 1 => not]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_truth_table((rule, table) in rules()) {
            for roles in 0_u16..16 {
                let names: Vec<String> = (0..4).filter(|at| roles & (1 << at) != 0).map(|at| at.to_string()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                prop_assert_eq!(rule.holds(&caller(&names, &[], &[])), table & (1 << roles) != 0);
            }
        }
    }
}
