//! Bodies pass as streams, however many and however large.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

const BODIES: usize = 1_000;
const AT_ONCE: usize = 200;
const MEGABYTE: usize = 1024 * 1024;
/// All bodies together have 2,000 MB, those that are under way at once 400.
const MAY_GROW: u64 = 150 * MEGABYTE as u64;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_megabytes_both_ways_need_little_memory() {
    let (issuer, upstream) = (issuer().await, Upstream::start("echo").await);
    let configuration = format!(
        "log = \"warn,gateway=info\"\n{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\ntimeout = \"60s\"\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Arc::new(Gateway::start(&configuration).await);
    let token = issuer.token("alice").sign();
    let client = client();
    let before = gateway.memory();
    let watched = Arc::clone(&gateway);
    let peak = tokio::spawn(async move {
        let mut peak = 0;
        while Arc::strong_count(&watched) > 1 {
            peak = peak.max(watched.memory());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peak
    });

    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for number in 0..BODIES {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let chunk = bytes::Bytes::from(vec![u8::try_from(number % 251).unwrap(); MEGABYTE / 16]);
        let sent = chunk.clone();
        let chunks = (0..16).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let request = client.post(gateway.url("/")).bearer_auth(&token);
        let request = request.header("x-do", "echo").body(body).send();
        all.spawn(async move {
            let mut answer = request.await.unwrap();
            assert_eq!(answer.status(), 200);
            let mut length = 0;
            while let Some(chunk) = answer.chunk().await.unwrap() {
                let at = length % sent.len();
                let until = sent.len().min(at + chunk.len());
                assert!(chunk.starts_with(&sent[at..until]), "another's bytes");
                length += chunk.len();
            }
            assert_eq!(length, MEGABYTE);
            drop(turn);
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    drop(gateway);
    let grown = peak.await.unwrap() - before;
    assert!(
        grown < MAY_GROW,
        "it grew by {} MB",
        grown / MEGABYTE as u64
    );
}
