//! The layer in a manifest.

use super::RateLimitLayer;
use crate::manifest::{Describe, Entry};
use crate::rate_limit::limit::Counting;

impl Describe for RateLimitLayer {
    fn describe(&self, entry: &mut Entry) {
        if !self.enabled {
            return;
        }
        let counting = match self.counting {
            Counting::Requests => "",
            Counting::Failures => "invalid tokens, ",
            Counting::Responses(_) => "charged by the response, ",
        };
        let choice = self.choice.as_ref().map(ToString::to_string);
        let (by, choice) = (&self.key, choice.unwrap_or_default());
        if let Some(in_flight) = &self.in_flight {
            let what = format!("at most {} in flight, by {by}", in_flight.max());
            entry.limits(&self.name(), self.mode, what);
        }
        for (name, quota) in &self.quotas {
            if !quota.is_unlimited() || self.choice.is_some() {
                let quota = quota.in_words();
                let what = format!("{counting}{quota}, by {by}{choice}");
                entry.limits(name, self.mode, what);
            }
        }
    }
}
