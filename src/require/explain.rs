//! Why a rule holds for a caller, or does not: the rule as a tree, with the answer at every node.

use super::rule::{Node, Rule};
use super::truth::Truth;
use crate::clock::Clock;
use crate::identity::Identity;

impl Rule {
    /// The rule as a tree, one line for each part: `✓` where it holds for the caller, `✗` where it does not, `?` where the
    /// token does not tell. For the people who run the service; it is not for callers.
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
    pub fn explain(&self, caller: &Identity) -> String {
        let mut text = String::new();
        self.explain_at(0, caller, &Clock::System, &mut text);
        text
    }

    fn explain_at(&self, depth: usize, caller: &Identity, clock: &Clock, text: &mut String) {
        let mark = match self.truth(caller, clock) {
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
        text.push_str(&"  ".repeat(depth));
        text.push(mark);
        text.push(' ');
        text.push_str(&words);
        text.push('\n');
        for rule in inner {
            rule.explain_at(depth + 1, caller, clock, text);
        }
    }
}
