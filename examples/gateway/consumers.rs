//! Named partner applications.

use std::collections::BTreeMap;

use portcullis::{Identity, Quota, Rule};

use crate::config::model::{Callers, Configuration, Consumer, ConsumerFilter};

/// All consumers. If both the subject and the client of a token match a consumer, the subject wins.
#[derive(Default)]
pub(crate) struct Consumers {
    by_subject: BTreeMap<String, Consumer>,
    by_client: BTreeMap<String, Consumer>,
    plans: BTreeMap<String, Quota>,
}

// === impl Consumers ===

impl Consumers {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let mut consumers = Self::default();
        for consumer in &configuration.consumers {
            let (callers, id) = match &consumer.callers {
                Callers::Subject(id) => (&mut consumers.by_subject, id),
                Callers::Client(id) => (&mut consumers.by_client, id),
            };
            callers.insert(id.clone(), consumer.clone());
        }
        let plans = configuration.plans.iter();
        consumers.plans = plans
            .map(|(name, limit)| (name.clone(), limit.quota()))
            .collect();
        consumers
    }

    pub(crate) fn name(&self, caller: &Identity) -> Option<&str> {
        Some(&self.find(caller)?.name)
    }

    /// The quota of the plan that the caller's consumer has.
    pub(crate) fn quota(&self, caller: &Identity) -> Option<Quota> {
        self.plans.get(self.find(caller)?.plan.as_ref()?).copied()
    }

    /// The rule for a consumer filter; `None` if it admits every caller.
    pub(crate) fn rule(&self, filter: &ConsumerFilter) -> Option<Rule> {
        match filter {
            ConsumerFilter::Any => None,
            ConsumerFilter::Allow(names) => Some(self.any_of(names)),
            ConsumerFilter::Deny(names) => Some(!self.any_of(names)),
        }
    }

    fn any_of(&self, names: &[String]) -> Rule {
        let is_named = |consumer: &&Consumer| names.contains(&consumer.name);
        let (subjects, others): (Vec<_>, Vec<_>) = self.by_subject.values().partition(is_named);
        let clients: Vec<_> = self.by_client.values().filter(is_named).collect();
        if clients.is_empty() || others.is_empty() {
            return any(subjects.into_iter().chain(clients));
        }
        // A subject that is a consumer itself does not count as a consumer of its client.
        let clients = any(clients) & !any(others);
        if subjects.is_empty() {
            return clients;
        }
        any(subjects) | clients
    }

    fn find(&self, caller: &Identity) -> Option<&Consumer> {
        let client = || self.by_client.get(caller.client()?);
        self.by_subject.get(caller.subject()).or_else(client)
    }
}

fn any<'c>(consumers: impl IntoIterator<Item = &'c Consumer>) -> Rule {
    let consumers = consumers.into_iter();
    Rule::any(consumers.map(|consumer| match &consumer.callers {
        Callers::Subject(id) => Rule::subject(id),
        Callers::Client(id) => Rule::client(id),
    }))
}
