//! Executes one row of the second table: an outage of five minutes, and the time until it is over.

use std::time::Duration;

use super::faults::{healthy, new_only, of, old_only, well_known};
use super::replies::{Page, status};
use super::scene::Scene;
use super::table::Recovery;

const OUTAGE: u64 = 300;
const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn run(row: &Recovery) {
    let id = &row.id;
    let (starts_with_keys, back): (bool, Page) = match &*row.before {
        "known key" => (true, healthy),
        "known key, removed afterwards" => (true, new_only),
        "no keys" => (false, healthy),
        other => panic!("{id}: {other}"),
    };
    let sends_new = match &*row.during {
        "every second" => true,
        "none" => false,
        other => panic!("{id}: {other}"),
    };
    let mut fault = of(|_, _| status("503 Service Unavailable"));
    fault.cooldown = Duration::from_secs(row.cooldown);
    let scene = Scene::start(&fault).await;
    if starts_with_keys {
        scene.publish(old_only, well_known);
        assert_eq!(scene.send(&scene.known_token()).await, "200", "{id}");
        // The refresh is due when the outage begins.
        scene.clock.advance(fault.after);
    }

    scene.publish(fault.keys, well_known);
    let before = scene.site.requests();
    for _ in 0..OUTAGE {
        scene.clock.advance(SECOND);
        let known = scene.send(&scene.known_token()).await;
        let expected = if starts_with_keys {
            "200"
        } else {
            "503 keys_unavailable"
        };
        assert_eq!(known, expected, "{id}");
        if sends_new {
            assert_eq!(
                scene.send(&scene.new_token()).await,
                "503 keys_unavailable",
                "{id}"
            );
        }
        scene.make_progress().await;
    }
    let requests = scene.site.requests() - before;
    assert!(requests <= row.max_requests, "{id}: {requests} requests");

    scene.publish(back, well_known);
    let mut waited = 0;
    while scene.send(&scene.new_token()).await != "200" {
        scene.clock.advance(SECOND);
        waited += 1;
        assert!(
            waited <= row.accepted_within,
            "{id}: still refused after {waited} s"
        );
    }
}
