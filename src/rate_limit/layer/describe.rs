//! What the layer says of itself in a manifest.

use super::super::key::By;
use super::super::limit::Counts;
use super::RateLimitLayer;
use crate::manifest::{Describe, Entry};

impl Describe for RateLimitLayer {
    fn describe(&self, entry: &mut Entry) {
        if !self.enabled {
            return;
        }
        let what = match self.counts {
            Counts::Requests => "",
            Counts::Failures => "invalid tokens, ",
            Counts::Afterwards(_) => "charged by the response, ",
        };
        let own = match self.quota_for {
            Some(_) => ", or the caller's own quota",
            None => "",
        };
        let by = match (&self.counted.by, self.counted.per_route) {
            (By::Everyone, true) => "route".to_owned(),
            (by, true) => format!("{by} and route"),
            (by, false) => by.to_string(),
        };
        if let Some(in_flight) = &self.in_flight {
            let (name, most) = (&self.name(), in_flight.most());
            entry.limits(
                name,
                self.mode,
                format!("at most {most} in flight, by {by}"),
            );
        }
        for (name, quota) in &self.quotas {
            let quota = match quota.is_unlimited() {
                false => quota.to_string(),
                true if self.quota_for.is_some() => "any number".to_owned(),
                true => continue,
            };
            entry.limits(name, self.mode, format!("{what}{quota}, by {by}{own}"));
        }
    }
}
