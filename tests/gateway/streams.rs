//! Bodies are streamed, in any number and size.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

/// All of them concurrently.
const BODIES: usize = 1_000;
const MEGABYTE: usize = 1024 * 1024;
const CHUNK: usize = MEGABYTE / 16;
/// The buffer size of a connection.
const BUFFER: usize = 32 * 1024;
/// The buffers of a request in each direction, in the worst case: one for reading, one between the
/// two connections, and two for writing, because a partly filled buffer is followed by another.
/// Usually half of this is used, but a busy system leaves sockets full. One more for everything
/// else. The bodies have 2,000 MB in total.
const MAY_GROW: u64 = (BODIES * (2 * 4 + 1) * BUFFER) as u64;
/// Both ends of all connections are in this process, and the child inherits the limit.
const DESCRIPTORS: usize = BODIES * 3;

#[test]
fn thousand_concurrent_bodies_use_bounded_memory() {
    if descriptors() < DESCRIPTORS {
        // Most systems allow a higher limit than the initial one.
        let again = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" --exact \"$1\"");
        let test = std::thread::current().name().unwrap().to_owned();
        let program = std::env::current_exe().unwrap();
        let mut ran = Command::new("sh");
        ran.args(["-c", &again]).arg(program).arg(test);
        assert!(ran.status().unwrap().success(), "raise `ulimit -n`");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(a_thousand_megabytes());
}

async fn a_thousand_megabytes() {
    let (issuer, upstream) = (issuer().await, Upstream::start("echo").await);
    let configuration = format!(
        "log = \"warn,gateway=info\"\n{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\ntimeout = \"5m\"\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Arc::new(Gateway::start(&configuration).await);
    let (token, client) = (issuer.token("alice").sign(), client());
    let before = gateway.memory();
    let (done, over) = watch::channel(());
    let peak = tokio::spawn(peak(Arc::clone(&gateway), over));

    // No body continues before all requests and responses have begun.
    let all_began = Arc::new(Barrier::new(BODIES));
    let mut all = JoinSet::new();
    for number in 0..BODIES {
        let chunk = Bytes::from(vec![u8::try_from(number % 251).unwrap(); CHUNK]);
        let (go, gone) = watch::channel(false);
        let body = body(chunk.clone(), gone);
        let request = client.post(gateway.url("/")).bearer_auth(&token);
        let request = request.header("x-do", "echo").body(body).send();
        let all_began = Arc::clone(&all_began);
        all.spawn(async move {
            let mut answer = request.await.unwrap();
            assert_eq!(answer.status(), 200);
            let first = answer.chunk().await.unwrap().unwrap();
            all_began.wait().await;
            go.send_replace(true);
            let mut length = first.len();
            let mut next = Some(first);
            while let Some(part) = next {
                let is_own = part.chunks(CHUNK).all(|part| chunk.starts_with(part));
                assert!(is_own, "another's bytes");
                next = answer.chunk().await.unwrap();
                length += next.as_ref().map_or(0, Bytes::len);
            }
            assert_eq!(length, MEGABYTE);
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    drop(done);
    assert_eq!(upstream.hits(), BODIES);
    let grown = peak.await.unwrap() - before;
    let megabytes = grown / MEGABYTE as u64;
    println!("{BODIES} bodies of 1 MB at once, both ways: it grew by {megabytes} MB");
    assert!(grown < MAY_GROW, "it grew by {megabytes} MB");
}

/// One chunk, and the rest after the signal.
fn body(chunk: Bytes, mut gone: watch::Receiver<bool>) -> reqwest::Body {
    let rest = chunk.clone();
    let wait = async move {
        gone.wait_for(|go| *go).await.unwrap();
        rest
    };
    let waited =
        stream::once(wait).flat_map(|rest| stream::repeat(rest).take(MEGABYTE / CHUNK - 1));
    let chunks = stream::once(async { chunk }).chain(waited);
    reqwest::Body::wrap_stream(chunks.map(Ok::<_, std::io::Error>))
}

/// The peak memory of the gateway until `over` changes.
async fn peak(gateway: Arc<Gateway>, mut over: watch::Receiver<()>) -> u64 {
    let mut peak = 0;
    loop {
        peak = peak.max(gateway.memory());
        tokio::select! {
            _ = over.changed() => return peak,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

/// The limit of open files of this process; a high value if it is unknown.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.and_then(|soft| soft.parse().ok())
        .unwrap_or(usize::MAX)
}
