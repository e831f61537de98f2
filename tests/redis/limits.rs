//! Limits with a store that answers, and with a store that does not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis::Quota;
use portcullis::rate_limit::{OnOutage, RedisStore};

use crate::server::Server;
use crate::{Limited, SECRET, ask, limited, nodes};

const OTHER_SECRET: &str = "the secret of another fleet";

fn store(server: &Server, secret: &str) -> RedisStore {
    RedisStore::new(&server.url(), secret).unwrap()
}

/// Sends this number of requests and returns how many were admitted.
async fn admitted(service: &Limited, caller: &str, requests: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..requests {
        admitted += u32::from(ask(service, caller).await == 200);
    }
    admitted
}

/// The number of admitted requests of a new caller, per service in this order. If a call to the
/// store times out, which happens on a busy machine, starts again with another caller.
async fn undisturbed(turns: &[(&RedisStore, &Limited, u32)]) -> Vec<u32> {
    let errors = || -> u64 { turns.iter().map(|(store, ..)| store.status().errors).sum() };
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    for _ in 0..50 {
        let caller = format!("caller {}", CALLERS.fetch_add(1, Ordering::Relaxed));
        for (store, service, _) in turns {
            until_up(store, service, true).await;
        }
        let before = errors();
        let mut counts = Vec::new();
        for (_, service, requests) in turns {
            counts.push(admitted(service, &caller, *requests).await);
        }
        if errors() == before {
            return counts;
        }
    }
    panic!("each attempt had a timeout: {:?}", turns[0].0.status());
}

/// Sends requests until the store is up or down, as `is_up` requires.
async fn until_up(store: &RedisStore, service: &Limited, is_up: bool) {
    for i in 0.. {
        if store.status().is_up == is_up {
            return;
        }
        assert!(i < 3_000, "{:?}", store.status());
        ask(service, "another").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn processes_with_one_secret_count_together() {
    let Some(server) = Server::start() else {
        return;
    };
    let stores = [SECRET, SECRET, OTHER_SECRET].map(|secret| store(&server, secret).exact());
    let [one, other, stranger] = stores
        .each_ref()
        .map(|store| (store, limited(store, Quota::per_hour(10))));
    let turns = [&one, &other, &stranger].map(|(store, service)| (*store, service, 6));
    assert_eq!(undisturbed(&turns).await, [6, 4, 6]);
}

#[tokio::test]
async fn a_changed_quota_starts_anew() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = store(&server, SECRET).exact();
    let [three, four] = [3, 4].map(|permits| limited(&store, Quota::per_hour(permits)));
    let turns = [(&store, &three, 5), (&store, &four, 5), (&store, &three, 1)];
    assert_eq!(undisturbed(&turns).await, [3, 4, 0]);
}

#[tokio::test]
async fn each_policy_decides_during_an_outage() {
    for (policy, expected) in [
        (nodes(4), [200, 200, 429, 429]),
        (OnOutage::Open, [200; 4]),
        (OnOutage::Closed, [503; 4]),
    ] {
        let Some(mut server) = Server::start() else {
            return;
        };
        let store = store(&server, SECRET).exact().on_outage(policy);
        let service = limited(&store, Quota::per_hour(8));
        assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);

        server.kill();
        until_up(&store, &service, false).await;
        for expected in expected {
            assert_eq!(ask(&service, "bob").await, expected, "{policy:?}");
        }
        let status = store.status();
        assert!(
            status.errors >= 5 && status.last_error.is_some(),
            "{status:?}"
        );

        server.restart();
        until_up(&store, &service, true).await;
        assert!(store.status().degraded > Duration::ZERO);
        // The server came back empty.
        let admitted = undisturbed(&[(&store, &service, 9)]).await;
        assert_eq!(admitted, [8], "{policy:?}");
    }
}

#[tokio::test]
async fn a_paused_server_is_not_called() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = store(&server, SECRET).exact().on_outage(OnOutage::Closed);
    let service = limited(&store, Quota::per_hour(8));
    while admitted(&service, "alice", 2).await == 0 {}
    server.pause();
    until_up(&store, &service, false).await;
    assert_eq!(ask(&service, "alice").await, 503);
    assert_eq!(store.status().last_error, Some("timeout"));
    server.resume();
    until_up(&store, &service, true).await;
    let left = admitted(&service, "alice", 9).await;
    assert!(
        left <= 7,
        "{left} of 8: earlier admissions must still count"
    );
}

#[tokio::test]
async fn first_request_after_a_dropped_connection_passes() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let store = store(&server, SECRET).exact().on_outage(OnOutage::Closed);
    let service = limited(&store, Quota::per_hour(1_000));
    undisturbed(&[(&store, &service, 1)]).await;
    for round in 0..10 {
        if round % 2 == 0 {
            server.ask("CLIENT KILL TYPE normal SKIPME yes");
        } else {
            server.kill();
            server.restart();
        }
        // Until the client has noticed the end of the connection.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let before = store.status().errors;
        assert_eq!(ask(&service, "alice").await, 200, "round {round}");
        assert_eq!(store.status().errors, before);
    }
}

#[tokio::test]
async fn status_alone_notices_the_recovery() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.kill();
    let store = store(&server, SECRET).on_outage(OnOutage::Closed);
    until_up(&store, &limited(&store, Quota::per_hour(8)), false).await;
    server.restart();
    for i in 0.. {
        if store.status().is_up {
            break;
        }
        assert!(i < 3_000, "{:?}", store.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_service_starts_before_its_store() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.kill();
    let store = store(&server, SECRET).on_outage(nodes(1));
    let service = limited(&store, Quota::per_hour(8));
    assert_eq!(admitted(&service, "alice", 9).await, 8);
    server.restart();
    until_up(&store, &service, true).await;
    let before = server.calls();
    assert!(admitted(&service, "alice", 9).await >= 1);
    assert!(server.calls() > before);
}

#[tokio::test]
async fn a_refused_login_is_an_outage() {
    let Some(server) = Server::start() else {
        return;
    };
    server.ask("CONFIG SET requirepass hush-hush");
    let store = store(&server, SECRET).on_outage(OnOutage::Closed);
    let service = limited(&store, Quota::per_hour(8));
    until_up(&store, &service, false).await;
    assert_eq!(ask(&service, "alice").await, 503);
    let last = store.status().last_error;
    assert!(matches!(last, Some("NOAUTH" | "WRONGPASS")), "{last:?}");

    let with_password = server.url().replace("redis://", "redis://:hush-hush@");
    let store = RedisStore::new(&with_password, SECRET).unwrap();
    let service = limited(&store, Quota::per_hour(8));
    assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);
}

#[tokio::test]
async fn a_read_only_server_is_an_outage() {
    let Some(server) = Server::start() else {
        return;
    };
    let cases = [
        ("CONFIG SET maxmemory 1", "OOM", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "READONLY", "REPLICAOF NO ONE"),
    ];
    for (spoil, why, mend) in cases {
        let store = store(&server, SECRET).on_outage(OnOutage::Closed);
        let service = limited(&store, Quota::per_hour(8));
        assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);
        assert!(server.ask(spoil).starts_with("+OK"));
        until_up(&store, &service, false).await;
        assert_eq!(store.status().last_error, Some(why));
        assert!(server.ask(mend).starts_with("+OK"));
        until_up(&store, &service, true).await;
        assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);
    }
}

#[test]
fn a_store_outlives_its_runtime() {
    let Some(server) = Server::start() else {
        return;
    };
    let store = store(&server, SECRET).on_outage(OnOutage::Closed);
    let service = limited(&store, Quota::per_hour(8));
    for _ in 0..3 {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            until_up(&store, &service, true).await;
            assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnected_clients_gain_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    for (percent, caller) in [(0, "alice"), (25, "bob")] {
        let store = store(&server, SECRET).on_outage(OnOutage::Closed);
        let store = match percent {
            0 => store.exact(),
            _ => store.leased(percent).unwrap(),
        };
        let service = limited(&store, Quota::per_hour(300));
        let clients: Vec<_> = (0..64)
            .map(|client| {
                let service = service.clone();
                tokio::spawn(async move {
                    let mut admitted = 0;
                    for request in 0..50 {
                        // Disconnects before, during or after the call to the store.
                        let patience = Duration::from_micros((client * 50 + request) * 37 % 1_500);
                        let answer = ask(&service, caller);
                        let answer = tokio::time::timeout(patience, answer).await;
                        admitted += u32::from(answer.is_ok_and(|status| status == 200));
                    }
                    admitted
                })
            })
            .collect();
        let mut admitted = 0;
        for client in clients {
            admitted += client.await.unwrap();
        }
        assert!(admitted <= 300, "{percent} percent: {admitted}");
        assert_eq!(undisturbed(&[(&store, &service, 301)]).await, [300]);
    }
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let Some(server) = Server::start() else {
        return;
    };
    let page = include_str!("../../docs/rate-limits.md");
    let mut lines = page.lines().map(str::trim_start);
    let line = lines.find(|line| line.starts_with("ACL SETUSER"));
    let rights = line.unwrap();
    let url = server
        .url()
        .replace("redis://", "redis://limits:a-password@");
    for (rights, is_enough) in [
        (rights.to_owned(), true),
        (rights.replace(" +evalsha", ""), false),
        (rights.replace("~pc1:*", "~other:*"), false),
    ] {
        server.ask("ACL DELUSER limits");
        assert!(server.ask(&rights).starts_with("+OK"), "{rights}");
        server.ask("SCRIPT FLUSH");
        let store = RedisStore::new(&url, SECRET).unwrap();
        let store = store.on_outage(OnOutage::Closed);
        let service = limited(&store, Quota::per_hour(8));
        if is_enough {
            assert_eq!(undisturbed(&[(&store, &service, 9)]).await, [8]);
        } else {
            until_up(&store, &service, false).await;
            assert_eq!(store.status().last_error, Some("NOPERM"), "{rights}");
        }
    }
}

#[tokio::test]
async fn password_and_secret_are_not_shown() {
    let url = "redis://admin:hush-hush@127.0.0.1:1/0";
    let store = RedisStore::new(url, SECRET).unwrap().on_outage(nodes(1));
    let service = limited(&store, Quota::per_hour(8));
    until_up(&store, &service, false).await;
    let layer = portcullis::RateLimitLayer::new(Quota::per_hour(8)).store(&store);
    let shown = format!("{store:?} {layer:?} {:?}", store.status());
    assert!(
        !shown.contains("hush") && !shown.contains("admin"),
        "{shown}"
    );
    assert!(!shown.contains(SECRET), "{shown}");
    for wrong in [
        "http://:hush-hush@127.0.0.1/",
        "rediss://:hush-hush@127.0.0.1/none",
        "hush-hush",
    ] {
        let error = RedisStore::new(wrong, SECRET).unwrap_err().to_string();
        assert!(
            error.contains("redis://") && !error.contains("hush"),
            "{error}"
        );
    }
}

#[test]
fn unsafe_stores_are_not_built() {
    let short = RedisStore::new("redis://127.0.0.1/", "16 bytes are fine").map(drop);
    assert!(short.is_ok());
    let short = RedisStore::new("redis://127.0.0.1/", "15 bytes aren't").unwrap_err();
    assert!(short.to_string().contains("16 bytes"), "{short}");
    for percent in [0, 101] {
        let store = RedisStore::new("redis://127.0.0.1/", SECRET).unwrap();
        let error = store.leased(percent).unwrap_err();
        assert!(error.to_string().contains("exact()"), "{error}");
    }
}
