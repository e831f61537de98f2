//! Rules as text, and back: `any(role:admin, all(scope:orders:read, not(client:acme)))`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::leaf::Leaf;
use super::predicate::{Predicate, Test};
use super::rule::{Node, Rule};
use crate::claim_path::ClaimPath;
use crate::error::ConfigError;

/// How many rules may stand inside each other where a text or a configuration says so.
pub(super) const MAX_DEPTH: usize = 32;

/// A name as it is where nothing in it could be mistaken, else as a JSON string.
struct Name<'n>(&'n str);

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, rules) = match &self.0 {
            Node::Leaf(leaf) => return leaf.fmt(f),
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

/// Reads what `Display` writes. Names that hold blanks, commas, brackets or quotes stand in quotes.
impl FromStr for Rule {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader { text, rest: text };
        let rule = reader.rule(0)?;
        match reader.rest.trim_start() {
            "" => Ok(rule),
            _ => {
                Err(reader
                    .problem("end after one rule; combine several with `any(..)` or `all(..)`"))
            }
        }
    }
}

// === impl Leaf ===

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, name) = match self {
            Self::Role(name) => ("role", name),
            Self::Scope(name) => ("scope", name),
            Self::Permission(name) => ("permission", name),
            Self::PermissionPattern(pattern) => ("permission_pattern", pattern),
            Self::PermissionOrWildcard(name) => ("permission_or_wildcard", name),
            Self::Group(name) => ("group", name),
            Self::Issuer(issuer) => ("issuer", issuer),
            Self::Client(id) => ("client", id),
            Self::Subject(subject) => ("subject", subject),
            Self::Acr(value) => ("acr", value),
            Self::MaxAge(seconds) => return write!(f, "max_age:{seconds}"),
            Self::Claim(claim) => return write!(f, "claim({} {})", Path(&claim.0), claim.1),
        };
        write!(f, "{word}:{}", Name(name))
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Test::Is(value) => write!(f, "is {value}"),
            Test::Contains(value) => write!(f, "contains {value}"),
            Test::AtLeast(least) => write!(f, "at_least {least}"),
            Test::AtMost(greatest) => write!(f, "at_most {greatest}"),
            Test::Exists => f.write_str("exists"),
        }
    }
}

// === impl Name ===

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) {
            f.write_str(self.0)
        } else {
            Value::from(self.0).fmt(f)
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_letter)
}

fn is_letter(letter: char) -> bool {
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

/// What is left of a text.
struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

// === impl Reader ===

impl<'t> Reader<'t> {
    fn problem(&self, problem: &'static str) -> ConfigError {
        let at = self.text.len() - self.rest.len();
        ConfigError::Rule { at, problem }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip_blanks();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, sign: &'static str, problem: &'static str) -> Result<(), ConfigError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.problem(problem))
    }

    /// The letters up to the first that `ends`.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'t str {
        self.skip_blanks();
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn rule(&mut self, depth: usize) -> Result<Rule, ConfigError> {
        const WORDS: &str = "begin with any(, all(, not(, claim(, role:, scope:, permission:, permission_pattern:, \
            permission_or_wildcard:, group:, issuer:, client:, subject:, acr:, max_age:, verified or nobody";
        if depth >= MAX_DEPTH {
            return Err(self.problem("nest rules less deeply: 32 inside each other are too many"));
        }
        self.skip_blanks();
        let start = self.rest;
        let word = self.until(|letter| !letter.is_ascii_lowercase() && letter != '_');
        let leaf: fn(Box<str>) -> Leaf = match (word, self.rest.chars().next()) {
            ("verified", _) => return Ok(Rule::verified()),
            ("nobody", _) => return Ok(Rule::nobody()),
            ("any", Some('(')) => return Ok(Rule::any(self.list(depth)?)),
            ("all", Some('(')) => return Ok(Rule::all(self.list(depth)?)),
            ("not", Some('(')) => {
                self.take("(");
                let rule = self.rule(depth + 1)?;
                self.expect(")", "close `not(..)` after one rule")?;
                return Ok(Rule::not(rule));
            }
            ("claim", Some('(')) => return self.claim(),
            ("max_age", Some(':')) => {
                self.take(":");
                let digits = self.until(|letter| !letter.is_ascii_digit());
                let seconds = digits.parse();
                let seconds = seconds.map_err(|_| self.problem("give `max_age` whole seconds"))?;
                return Ok(Rule::leaf(Leaf::MaxAge(seconds)));
            }
            ("role", Some(':')) => Leaf::Role,
            ("scope", Some(':')) => Leaf::Scope,
            ("permission", Some(':')) => Leaf::Permission,
            ("permission_pattern", Some(':')) => Leaf::PermissionPattern,
            ("permission_or_wildcard", Some(':')) => Leaf::PermissionOrWildcard,
            ("group", Some(':')) => Leaf::Group,
            ("issuer", Some(':')) => Leaf::Issuer,
            ("client", Some(':')) => Leaf::Client,
            ("subject", Some(':')) => Leaf::Subject,
            ("acr", Some(':')) => Leaf::Acr,
            _ => {
                self.rest = start;
                return Err(self.problem(WORDS));
            }
        };
        self.take(":");
        Ok(Rule::leaf(leaf(self.name()?)))
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = Vec::new();
        self.take("(");
        while !self.take(")") {
            if !rules.is_empty() {
                self.expect(",", "put a comma between rules, or close the bracket")?;
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
        match self.rest.find(|letter| !is_letter(letter)) {
            Some(0) => Err(self.problem("give a name, in quotes if it begins like this")),
            None if self.rest.is_empty() => Err(self.problem("give a name")),
            _ => Ok(self.until(|letter| !is_letter(letter)).into()),
        }
    }

    fn claim(&mut self) -> Result<Rule, ConfigError> {
        self.take("(");
        self.skip_blanks();
        let path = if self.rest.starts_with('[') {
            match serde_json::from_value::<Vec<String>>(self.json()?) {
                Ok(names) => names.iter().map(String::as_str).collect(),
                Err(_) => return Err(self.problem("give a path as a list of names")),
            }
        } else {
            ClaimPath::from(&*self.name()?)
        };
        let word = self.until(|letter| !letter.is_ascii_lowercase() && letter != '_');
        let predicate = match word {
            "exists" => Predicate::exists(),
            "is" => Predicate::is(self.json()?),
            "contains" => Predicate::contains(self.json()?),
            "at_least" => Predicate::at_least(self.number()?),
            "at_most" => Predicate::at_most(self.number()?),
            _ => {
                return Err(
                    self.problem("follow the claim by is, contains, at_least, at_most or exists")
                );
            }
        };
        self.expect(")", "close `claim(..)` after what it must be")?;
        Ok(Rule::claim(path, predicate))
    }

    fn number(&mut self) -> Result<i64, ConfigError> {
        let number = self.json()?.as_i64();
        number.ok_or_else(|| self.problem("give a whole number"))
    }

    /// One JSON value: text in quotes, a list, a number, `true` or `false`.
    fn json(&mut self) -> Result<Value, ConfigError> {
        self.skip_blanks();
        let start = self.rest;
        let problem = "give a JSON value: \"text\" in quotes, a number, true or false";
        if !self.rest.starts_with(['"', '[', '{']) {
            // The parser would take the bracket after a bare word for a part of it.
            let word = self.until(|letter| !is_letter(letter));
            return serde_json::from_str(word).map_err(|_| {
                self.rest = start;
                self.problem(problem)
            });
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let Some(Ok(value)) = values.next() else {
            return Err(self.problem(problem));
        };
        self.rest = self.rest.get(values.byte_offset()..).unwrap_or_default();
        Ok(value)
    }
}
