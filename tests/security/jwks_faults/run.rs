//! Executes one row of the first table.

use std::time::Duration;

use super::faults::{Event, Fault, Forger, healthy, well_known};
use super::scene::Scene;
use super::table::Row;

const COOLDOWN: Duration = Duration::from_secs(30);

/// One row and its progress.
struct Run<'a> {
    row: &'a Row,
    fault: &'a Fault,
    scene: Scene,
    /// A token that was verified and cached before the fault.
    old_token: String,
}

pub(super) async fn run(row: &Row, fault: &Fault) {
    let scene = Scene::start(fault).await;
    let mut run = Run {
        old_token: scene.known_token(),
        row,
        fault,
        scene,
    };
    run.before().await;
    let fetches = run.during().await;
    run.next_cooldown(fetches).await;
    run.after().await;
    assert_eq!(run.scene.elsewhere.requests(), 0, "{}", row.id);
}

impl Run<'_> {
    async fn before(&mut self) {
        let (scene, id) = (&mut self.scene, &self.row.id);
        let Some(published) = self.fault.before else {
            scene.publish(self.fault.keys, self.fault.metadata);
            return;
        };
        scene.publish(published, well_known);
        assert_eq!(scene.send(&self.old_token).await, "200", "{id}");
        if self.fault.event == Event::Flood {
            let before = scene.site.requests();
            for _ in 0..1000 {
                assert_eq!(scene.send(&scene.unknown_token()).await, "401 unknown_key");
            }
            assert_eq!(scene.site.requests() - before, 2, "{id}");
        }
        scene.publish(self.fault.keys, self.fault.metadata);
        match self.fault.event {
            Event::Nothing | Event::Flood => {}
            Event::Refusal => scene.site.refuse().await,
            Event::WallClock(seconds) => scene.clock.set_unix_time(Duration::from_secs(seconds)),
            Event::Outage => {
                for _ in 0..60 {
                    scene.clock.advance(Duration::from_secs(61));
                    assert_eq!(scene.send_now(&scene.known_token()).as_deref(), Some("200"));
                    let unknown = scene.send(&scene.unknown_token()).await;
                    assert_eq!(unknown, "503 keys_unavailable");
                }
            }
        }
        scene.clock.advance(self.fault.after);
    }

    /// Checks the columns at one moment. Returns the number of fetches.
    async fn during(&self) -> usize {
        let (scene, row) = (&self.scene, self.row);
        let before = scene.site.requests();
        let at_once = scene.send_now(&scene.known_token());
        let is_served = at_once.is_some();
        let first = match at_once {
            Some(answer) => answer,
            None => scene.send(&scene.known_token()).await,
        };
        if is_served {
            // If a refresh was due, its task was spawned and has not been polled.
            self.expect_now("200", &scene.known_token());
            self.expect_now("200", &self.old_token);
            if self.fault.forger == Forger::Stranger {
                self.expect_now("401 bad_signature", &scene.forged_token());
            }
            assert_eq!(scene.site.requests(), before, "{}", row.id);
        }
        if self.fault.is_due() {
            // It waits for the fetch under way.
            self.expect(row.unknown(), &scene.unknown_token()).await;
        }
        let new = scene.send(&scene.new_token()).await;
        self.expect_known().await;
        let last = row.known_at_last();
        let known = if is_served && first != last {
            format!("{first}, then {last}")
        } else {
            first
        };
        let added = if is_served { "none" } else { "a fetch" };
        let forged = scene.send(&scene.forged_token()).await;
        for _ in 0..50 {
            self.expect(row.unknown(), &scene.unknown_token()).await;
        }
        self.expect(&new, &scene.new_token()).await;
        self.expect(&forged, &scene.forged_token()).await;
        self.expect_known().await;
        let error = scene.error();
        assert_eq!(error.is_some(), row.is_unavailable(), "{}", row.id);
        if self.fault.error.is_some() {
            assert_eq!(error, self.fault.error, "{}", row.id);
        }
        let mut fetches = scene.site.requests() - before;
        if self.fault.event == Event::Flood {
            fetches += 2;
        }
        assert_eq!(
            (&*known, &*new, &*forged, added, fetches),
            (
                &*row.known,
                &*row.new,
                &*row.forged,
                &*row.added,
                row.fetches
            ),
            "{}",
            row.id
        );
        fetches
    }

    /// The fault continues, with tokens every second.
    async fn next_cooldown(&self, fetches: usize) {
        let (scene, row) = (&self.scene, self.row);
        let before = scene.site.requests();
        for _ in 0..COOLDOWN.as_secs() {
            scene.clock.advance(Duration::from_secs(1));
            self.expect_known().await;
            let unknown = scene.send(&scene.unknown_token()).await;
            assert!(
                unknown == row.unknown() || self.fault.is_lasting,
                "{}: {unknown}",
                row.id
            );
        }
        let more = scene.site.requests() - before;
        // 1, 2, 4, 8 and 16 s apart, less a quarter; or two for unknown kids.
        assert!(more <= 5, "{}: {fetches} and {more} fetches", row.id);
    }

    /// The fault ends without a restart of the service.
    async fn after(&mut self) {
        let row = self.row;
        if !self.fault.is_lasting {
            if row.is_unavailable() {
                self.scene.fail_once_more().await;
            }
            self.scene.publish(healthy, well_known);
        }
        if self.fault.event == Event::Refusal {
            self.scene.site.listen();
        }
        let was_well = row.new == "200" && row.known_at_last() == "200";
        assert_eq!(row.recovers_within().is_none(), was_well, "{}", row.id);
        if let Some(within) = row.recovers_within() {
            self.scene.clock.advance(within);
            let unknown = self.scene.send(&self.scene.unknown_token()).await;
            assert_eq!(unknown, "401 unknown_key", "{}", row.id);
        }
        self.expect_now("200", &self.scene.known_token());
        self.expect_now("200", &self.old_token);
        self.expect_now("200", &self.scene.new_token());
        assert_eq!(self.scene.error(), None, "{}", row.id);
    }

    /// Checks a token of the known key that is new and one that was verified before.
    async fn expect_known(&self) {
        let last = self.row.known_at_last();
        for token in [&self.scene.known_token(), &self.old_token] {
            if last == "200" {
                self.expect_now(last, token);
            } else {
                self.expect(last, token).await;
            }
        }
    }

    async fn expect(&self, answer: &str, token: &str) {
        assert_eq!(self.scene.send(token).await, answer, "{}", self.row.id);
    }

    #[track_caller]
    fn expect_now(&self, answer: &str, token: &str) {
        let now = self.scene.send_now(token);
        assert_eq!(now.as_deref(), Some(answer), "{}", self.row.id);
    }
}
