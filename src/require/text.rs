//! Rules as text: `any(role:admin, all(scope:orders:read, not(client:acme)))`, the parser of that
//! text, and the explanation of a decision.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::atom::{Atom, WORDS};
use super::predicate::{Predicate, TESTS, Test};
use super::rule::{Node, Rule};
use super::truth::Truth;
use crate::claim_path::ClaimPath;
use crate::clock::Clock;
use crate::error::ConfigError;
use crate::identity::Identity;

/// How deeply rules may be nested in a text or a configuration.
pub(super) const MAX_DEPTH: usize = 32;
pub(super) const TOO_DEEP: &str = "nest rules less deeply: at most 32 levels are read";

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, rules) = match &self.0 {
            Node::Atom(atom) => return atom.fmt(f),
            Node::Not(rule) => return write!(f, "not({rule})"),
            Node::Any(rules) if rules.is_empty() => return f.write_str("nobody"),
            Node::All(rules) if rules.is_empty() => return f.write_str("verified"),
            Node::Any(rules) => ("any", rules),
            Node::All(rules) => ("all", rules),
        };
        write!(f, "{word}(")?;
        for (at, rule) in rules.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{rule}")?;
        }
        f.write_str(")")
    }
}

/// Parses what `Display` writes. Names that contain spaces, commas, brackets or quotes are quoted.
impl FromStr for Rule {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut parser = Parser { text, rest: text };
        let rule = parser.rule(0)?;
        if parser.rest.trim_start().is_empty() {
            return Ok(rule);
        }
        Err(parser.problem("end after one rule; combine several with `any(..)` or `all(..)`"))
    }
}

impl Rule {
    /// The rule as a tree with the answer for a caller at every node: `✓` if it holds, `✗` if it
    /// does not, `?` if the answer is unknown. `None` is an anonymous caller.
    ///
    /// For the operators of the service; do not send it to callers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use portcullis::{Issuer, JwtAuthLayer, KeyRing, Rule};
    /// # let issuer = portcullis::TestIssuer::start().await?;
    /// # let keys = portcullis::JwksCache::from_issuer(issuer.issuer())?;
    /// # keys.warm().await?;
    /// # let policy = Issuer::new(issuer.issuer()).audience("orders-api").with_keys(keys);
    /// # let auth = JwtAuthLayer::new([policy])?;
    /// let token = issuer.token("alice").audience("orders-api").role("clerk").sign();
    /// let alice = auth.verify(&token).await.map_err(|rejection| rejection.reason().code())?;
    ///
    /// let rule = Rule::role("admin") | Rule::role("clerk") & Rule::claim("tenant", "acme");
    /// assert_eq!(
    ///     rule.explain(&alice),
    ///     "\
    /// ? any of
    ///   ✗ role:admin
    ///   ? all of
    ///     ✓ role:clerk
    ///     ? claim(tenant is \"acme\")
    /// "
    /// );
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn explain<'c>(&self, caller: impl Into<Option<&'c Identity>>) -> String {
        let mut text = String::new();
        self.explain_at(0, caller.into(), &mut text);
        text
    }

    fn explain_at(&self, depth: usize, caller: Option<&Identity>, text: &mut String) {
        let mark = match self.truth_for(caller, &Clock::System) {
            Truth::Yes => '✓',
            Truth::No => '✗',
            Truth::Unknown => '?',
        };
        let (words, inner): (_, &[Self]) = match &self.0 {
            Node::Any(rules) if !rules.is_empty() => ("any of".to_owned(), rules),
            Node::All(rules) if !rules.is_empty() => ("all of".to_owned(), rules),
            Node::Not(rule) => ("not".to_owned(), std::slice::from_ref(&**rule)),
            _ => (self.to_string(), &[]),
        };
        text.push_str(&format!("{}{mark} {words}\n", "  ".repeat(depth)));
        for rule in inner {
            rule.explain_at(depth + 1, caller, text);
        }
    }
}

// === impl Atom ===

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.name()) {
            (_, Some((word, name))) => write!(f, "{word}:{}", Name(name)),
            (Self::MaxAge(seconds), _) => write!(f, "max_age:{seconds}"),
            (Self::Claim(claim), _) => write!(f, "claim({} {})", Path(&claim.0), claim.1),
            _ => f.write_str("anonymous"),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.test {
            Test::Exists => f.write_str(self.test.as_str()),
            test => write!(f, "{} {}", test.as_str(), self.operand),
        }
    }
}

/// A name as it is, or as a JSON string if the parser could misread it.
struct Name<'n>(&'n str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_bare) {
            f.write_str(self.0)
        } else {
            Value::from(self.0).fmt(f)
        }
    }
}

/// Whether a character may occur in a name without quotes.
fn is_bare(letter: char) -> bool {
    !letter.is_whitespace() && !letter.is_control() && !"(),[]\"".contains(letter)
}

struct Path<'p>(&'p ClaimPath);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.names() {
            [name] => Name(name).fmt(f),
            names => Value::from_iter(names.iter().map(|name| &**name)).fmt(f),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
}

// === impl Parser ===

impl<'t> Parser<'t> {
    fn problem(&self, problem: &'static str) -> ConfigError {
        let at = self.text.len() - self.rest.len();
        ConfigError::Rule { at, problem }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Skips `sign` if it is next.
    fn skip(&mut self, sign: char) -> bool {
        self.skip_spaces();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, sign: char, problem: &'static str) -> Result<(), ConfigError> {
        if self.skip(sign) {
            return Ok(());
        }
        Err(self.problem(problem))
    }

    /// The characters before the first one that is not `wanted`.
    fn while_is(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        self.skip_spaces();
        let end = self.rest.find(|letter| !wanted(letter));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn word(&mut self) -> &'t str {
        self.while_is(|letter| letter.is_ascii_lowercase() || letter == '_')
    }

    fn rule(&mut self, depth: usize) -> Result<Rule, ConfigError> {
        if depth >= MAX_DEPTH {
            return Err(self.problem(TOO_DEEP));
        }
        self.skip_spaces();
        let start = self.rest;
        let word = self.word();
        match (word, self.rest.chars().next()) {
            ("verified", _) => Ok(Rule::verified()),
            ("nobody", _) => Ok(Rule::nobody()),
            ("anonymous", _) => Ok(Rule::anonymous()),
            ("any", Some('(')) => Ok(Rule::any(self.list(depth)?)),
            ("all", Some('(')) => Ok(Rule::all(self.list(depth)?)),
            ("not", Some('(')) => {
                self.skip('(');
                let rule = self.rule(depth + 1)?;
                self.expect(')', "close `not(..)` after one rule")?;
                Ok(Rule::not(rule))
            }
            ("claim", Some('(')) => self.claim(),
            ("max_age", Some(':')) => {
                self.skip(':');
                let seconds = self.while_is(|letter| letter.is_ascii_digit()).parse();
                let problem = "`max_age` takes whole seconds";
                Ok(Rule::atom(Atom::MaxAge(
                    seconds.map_err(|_| self.problem(problem))?,
                )))
            }
            (word, next) => {
                let Some(atom) = Atom::of_word(word).filter(|_| next == Some(':')) else {
                    self.rest = start;
                    return Err(self.problem(WORDS));
                };
                self.skip(':');
                Ok(Rule::atom(atom(self.name()?)))
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = Vec::new();
        self.skip('(');
        while !self.skip(')') {
            if !rules.is_empty() {
                self.expect(',', "put a comma between rules, or close the bracket")?;
            }
            rules.push(self.rule(depth + 1)?);
        }
        Ok(rules)
    }

    fn name(&mut self) -> Result<Box<str>, ConfigError> {
        if self.rest.starts_with('"') {
            return match self.json()? {
                Value::String(name) => Ok(name.into()),
                _ => Err(self.problem("give a name")),
            };
        }
        match self.rest.chars().next() {
            None => Err(self.problem("give a name")),
            Some(first) if is_bare(first) => Ok(self.while_is(is_bare).into()),
            Some(_) => Err(self.problem("give a name, in quotes if it begins like this")),
        }
    }

    fn claim(&mut self) -> Result<Rule, ConfigError> {
        self.skip('(');
        self.skip_spaces();
        let path = if self.rest.starts_with('[') {
            match serde_json::from_value::<Vec<String>>(self.json()?) {
                Ok(names) => names.iter().map(String::as_str).collect(),
                Err(_) => return Err(self.problem("give a path as a list of names")),
            }
        } else {
            ClaimPath::from(&*self.name()?)
        };
        let predicate = match Test::of(self.word()) {
            None => Err(TESTS),
            Some(Test::Exists) => Ok(Predicate::exists()),
            Some(test) => Predicate::read(test, self.json()?),
        };
        let predicate = predicate.map_err(|problem| self.problem(problem))?;
        self.expect(')', "close `claim(..)` after its value")?;
        Ok(Rule::claim(path, predicate))
    }

    /// One JSON value: text in quotes, a list, a number, `true` or `false`.
    fn json(&mut self) -> Result<Value, ConfigError> {
        const PROBLEM: &str = "give a JSON value: \"text\" in quotes, a number, true or false";
        self.skip_spaces();
        let start = self.rest;
        if !self.rest.starts_with(['"', '[', '{']) {
            // serde_json would read the closing bracket as a part of the word.
            let word = self.while_is(is_bare);
            return serde_json::from_str(word).map_err(|_| {
                self.rest = start;
                self.problem(PROBLEM)
            });
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let Some(Ok(value)) = values.next() else {
            return Err(self.problem(PROBLEM));
        };
        self.rest = self.rest.get(values.byte_offset()..).unwrap_or_default();
        Ok(value)
    }
}
