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
        };
        let own = match self.quota_for {
            Some(_) => ", or the caller's own quota",
            None => "",
        };
        let by = &self.counted.by;
        let route = if self.counted.per_route {
            ", per route"
        } else {
            ""
        };
        for (name, quota) in &self.quotas {
            entry.limits(name, self.mode, format!("{what}{quota}, by {by}{own}"));
        }
    }
}
