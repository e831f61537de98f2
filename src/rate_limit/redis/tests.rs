//! Against real servers: the script and the arithmetic in memory agree, and every store keeps the
//! same promises.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::client::LeaseClient;
use super::fallback::Fallback;
use super::leases::{Id, LeaseTable, Opened};
use super::script::{Action, Backend, Reply};
use crate::clock::{Clock, ManualClock};
use crate::rate_limit::central::Central;
use crate::rate_limit::key::{Key, KeyHasher};
use crate::rate_limit::lease::LeaseRequest;
use crate::rate_limit::memory::Memory;
use crate::rate_limit::policy::Policies;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::store::{Check, Outcome, Purpose, Source, Store};

#[path = "../../../tests/support/redis.rs"]
mod server;

use server::Server;

const SECOND: Duration = Duration::from_secs(1);

fn policies(quotas: &[Quota]) -> Arc<Policies> {
    let names: Vec<Arc<str>> = (0..quotas.len())
        .map(|i| Arc::from(format!("p{i}")))
        .collect();
    Arc::new(Policies::new(names.iter().zip(quotas.iter().copied())).unwrap())
}

fn key(name: &str) -> Key {
    use std::hash::Hash;
    let mut hasher = KeyHasher::shared(b"sixteen bytes...");
    name.hash(&mut hasher);
    hasher.key()
}

fn backend(url: &str) -> Backend {
    Backend::new(url).unwrap()
}

async fn ask(
    backend: &Backend,
    action: Action,
    key: Key,
    policies: &Policies,
    requests: &[LeaseRequest],
) -> Reply {
    let answer = backend.run(action, key, policies, requests).await;
    answer.unwrap_or_else(|_| panic!("no answer: {:?}", backend.stats()))
}

fn store(url: &str, percent: u8) -> LeaseClient {
    let keys = NonZeroUsize::new(1_000).unwrap();
    LeaseClient::new(backend(url), percent, keys, Fallback::Closed)
}

/// A store without a server: the fallback decides with the whole quota.
fn fallback() -> LeaseClient {
    let (memory, nodes) = (Memory::new(Memory::DEFAULT_KEYS), NonZeroU32::MIN);
    let keys = NonZeroUsize::new(1_000).unwrap();
    let fallback = Fallback::Share { memory, nodes };
    LeaseClient::new(backend("redis://127.0.0.1:1/"), 25, keys, fallback)
}

async fn decide(
    store: &dyn Store,
    key: Key,
    policies: &Arc<Policies>,
    cost: u32,
    purpose: Purpose,
) -> Outcome {
    let check = Check {
        key,
        policies,
        cost: NonZeroU32::new(cost).unwrap(),
        purpose,
        now: u64::try_from(Clock::System.monotonic().as_nanos()).unwrap(),
    };
    if let Some(outcome) = store.try_local(&check) {
        return outcome;
    }
    store.ask(&check).await.unwrap()
}

/// Every store, and the server of the shared ones.
struct Stores {
    all: Vec<(&'static str, Arc<dyn Store>)>,
    _server: Option<Server>,
}

impl Stores {
    fn new() -> Self {
        let memory = InMemory(Memory::new(Memory::DEFAULT_KEYS));
        let mut all: Vec<(_, Arc<dyn Store>)> = vec![
            ("memory", Arc::new(memory)),
            ("fallback", Arc::new(fallback())),
        ];
        let server = Server::start();
        if let Some(server) = &server {
            // Apart by their numbers of databases.
            all.push(("exact", Arc::new(store(&format!("{}0", server.url()), 0))));
            all.push(("leased", Arc::new(store(&format!("{}1", server.url()), 25))));
        }
        Self {
            all,
            _server: server,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &dyn Store)> {
        self.all.iter().map(|(name, store)| (*name, &**store))
    }
}

/// Implements [`Store`] for the comparison; the limit calls memory directly.
#[derive(Debug)]
struct InMemory(Memory);

impl Store for InMemory {
    fn try_local(&self, check: &Check<'_>) -> Option<Outcome> {
        Some(self.0.decide(check))
    }

    fn ask(&self, _: &Check<'_>) -> crate::rate_limit::store::OutcomeFuture {
        unreachable!()
    }

    fn charge(&self, check: &Check<'_>) {
        self.0.charge(check);
    }
}

/// How many requests are admitted.
async fn admitted(store: &dyn Store, caller: &str, policies: &Arc<Policies>, requests: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..requests {
        let outcome = decide(store, key(caller), policies, 1, Purpose::Acquire).await;
        admitted += u32::from(outcome.verdicts.admit());
    }
    admitted
}

#[tokio::test]
async fn every_store_admits_a_burst_and_no_more() {
    for (name, store) in Stores::new().iter() {
        let policies = policies(&[Quota::per_hour(40)]);
        assert_eq!(admitted(store, "alice", &policies, 100).await, 40, "{name}");
        assert_eq!(admitted(store, "bob", &policies, 3).await, 3, "{name}");
    }
}

#[tokio::test]
async fn every_store_charges_all_quotas_or_none() {
    for (name, store) in Stores::new().iter() {
        let (small, large) = (Quota::per_hour(5), Quota::per_day(100));
        let both = policies(&[small, large]);
        assert_eq!(admitted(store, "alice", &both, 50).await, 5, "{name}");
        let refused = decide(store, key("alice"), &both, 1, Purpose::Acquire).await;
        let [first, second] = refused.verdicts.as_slice() else {
            panic!("{name}: two policies")
        };
        assert!(
            first.retry_after.is_some() && second.retry_after.is_none(),
            "{name}: {refused:?}"
        );
        // 45 refusals took nothing of the large one.
        assert!(
            (92..=95).contains(&second.left.permits),
            "{name}: {second:?}"
        );
    }
}

#[tokio::test]
async fn every_store_reports_the_wait() {
    for (name, store) in Stores::new().iter() {
        let policies = policies(&[Quota::per_hour(60).burst(2)]);
        assert_eq!(admitted(store, "alice", &policies, 3).await, 2, "{name}");
        let refused = decide(store, key("alice"), &policies, 1, Purpose::Acquire).await;
        let after = refused.verdicts.retry_after().unwrap();
        assert!(
            after > 50 * SECOND && after <= 60 * SECOND,
            "{name}: {after:?}"
        );
    }
}

#[tokio::test]
async fn every_store_charges_the_cost() {
    for (name, store) in Stores::new().iter() {
        let policies = policies(&[Quota::per_hour(10)]);
        let mut outcomes = Vec::new();
        for cost in [4, 4, 4, 2, 1, 11] {
            let outcome = decide(store, key("alice"), &policies, cost, Purpose::Acquire).await;
            outcomes.push(outcome.verdicts.admit());
        }
        assert_eq!(outcomes, [true, true, false, true, false, false], "{name}");
    }
}

#[tokio::test]
async fn every_store_peeks_and_charges_later() {
    for (name, store) in Stores::new().iter() {
        let policies = policies(&[Quota::per_hour(3)]);
        for _ in 0..10 {
            let peeked = decide(store, key("alice"), &policies, 1, Purpose::Peek).await;
            assert!(peeked.verdicts.admit(), "{name}");
        }
        let check = Check {
            key: key("alice"),
            policies: &policies,
            cost: NonZeroU32::new(5).unwrap(),
            purpose: Purpose::Acquire,
            now: u64::try_from(Clock::System.monotonic().as_nanos()).unwrap(),
        };
        store.charge(&check);
        // The charge is on its way; 5 were charged although 3 were there.
        let mut peeked = decide(store, key("alice"), &policies, 1, Purpose::Peek).await;
        while peeked.verdicts.admit() {
            tokio::task::yield_now().await;
            peeked = decide(store, key("alice"), &policies, 1, Purpose::Peek).await;
        }
        let after = peeked.verdicts.retry_after().unwrap();
        assert!(
            after > 3_000 * SECOND && after <= 3_600 * SECOND,
            "{name}: {after:?}"
        );
    }
}

#[tokio::test]
async fn every_store_admits_nothing_of_zero() {
    for (name, store) in Stores::new().iter() {
        let policies = policies(&[Quota::per_hour(0)]);
        assert_eq!(admitted(store, "alice", &policies, 3).await, 0, "{name}");
    }
}

/// What 64 callers at once are admitted of one quota, each in turn by another of these stores.
async fn admitted_at_once(stores: &[Arc<dyn Store>], policies: &Arc<Policies>) -> u32 {
    let callers = (0..64).map(|caller| {
        let (store, policies) = (
            Arc::clone(&stores[caller % stores.len()]),
            Arc::clone(policies),
        );
        tokio::spawn(async move { admitted(&*store, "alice", &policies, 50).await })
    });
    let callers: Vec<_> = callers.collect();
    let mut admitted = 0;
    for caller in callers {
        admitted += caller.await.unwrap();
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_get_exactly_the_burst() {
    let policies = policies(&[Quota::per_day(1_000)]);
    for (name, store) in &Stores::new().all {
        let admitted = admitted_at_once(&[Arc::clone(store)], &policies).await;
        // A request that waits for a partial purchase is rejected, so some permits may be left.
        let floor = if *name == "leased" { 500 } else { 1_000 };
        assert!((floor..=1_000).contains(&admitted), "{name}: {admitted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_admit_exactly_the_burst() {
    let Some(server) = Server::start() else {
        return;
    };
    let policies = policies(&[Quota::per_day(1_000)]);
    let nodes = [(); 2].map(|()| Arc::new(store(&server.url(), 0)) as Arc<dyn Store>);
    assert_eq!(admitted_at_once(&nodes, &policies).await, 1_000);
}

#[tokio::test]
async fn a_busy_caller_rarely_calls_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    let node = store(&server.url(), 25);
    let policies = policies(&[Quota::per_day(100_000)]);
    let mut sources = Vec::new();
    for _ in 0..5_000 {
        let outcome = decide(&node, key("alice"), &policies, 1, Purpose::Acquire).await;
        assert!(outcome.verdicts.admit());
        sources.push(outcome.source);
    }
    assert!(sources.iter().all(|source| *source == Source::Leased));
    let calls = server.calls();
    assert!(calls < 500, "{calls} calls for 5,000 requests");
}

#[tokio::test]
async fn a_refused_caller_is_refused_without_a_call() {
    let Some(server) = Server::start() else {
        return;
    };
    for percent in [0, 25] {
        let node = store(&server.url(), percent);
        let policies = policies(&[Quota::per_hour(3), Quota::per_day(1_000)]);
        let caller = key(&format!("caller {percent}"));
        while decide(&node, caller, &policies, 1, Purpose::Acquire)
            .await
            .verdicts
            .admit()
        {}
        let before = server.calls();
        for _ in 0..100 {
            let outcome = decide(&node, caller, &policies, 1, Purpose::Acquire).await;
            assert!(!outcome.verdicts.admit());
        }
        assert_eq!(server.calls(), before, "{percent} percent");
    }
}

#[tokio::test]
async fn a_deleted_key_counts_within_five_seconds() {
    let Some(server) = Server::start() else {
        return;
    };
    for (percent, quota) in [(0, Quota::per_day(3)), (25, Quota::per_day(100))] {
        let hands = ManualClock::at(1_800_000_000);
        let backend = backend(&server.url()).with_clock(Clock::from(hands.clone()));
        let keys = NonZeroUsize::new(1_000).unwrap();
        let node = LeaseClient::new(backend, percent, keys, Fallback::Closed);
        let (caller, policies) = (key(&format!("caller {percent}")), policies(&[quota]));
        let ask = || decide(&node, caller, &policies, 1, Purpose::Acquire);
        while ask().await.verdicts.admit() {}
        server.ask("FLUSHALL");
        let before = server.calls();
        hands.advance(5 * SECOND - Duration::from_millis(100));
        assert!(!ask().await.verdicts.admit(), "refused without asking");
        assert_eq!(server.calls(), before);
        hands.advance(Duration::from_millis(100));
        assert!(ask().await.verdicts.admit(), "{percent} percent");
    }
}

#[tokio::test]
async fn leases_expire_by_the_clock_of_the_node() {
    let Some(server) = Server::start() else {
        return;
    };
    let hands = ManualClock::at(1_800_000_000);
    let backend = backend(&server.url()).with_clock(Clock::from(hands.clone()));
    let node = LeaseClient::new(
        backend,
        25,
        NonZeroUsize::new(1_000).unwrap(),
        Fallback::Closed,
    );
    let policies = policies(&[Quota::per_day(100_000)]);
    for _ in 0..200 {
        assert!(
            decide(&node, key("alice"), &policies, 1, Purpose::Acquire)
                .await
                .verdicts
                .admit()
        );
    }
    let before = server.calls();
    hands.advance(SECOND);
    assert!(
        decide(&node, key("alice"), &policies, 1, Purpose::Acquire)
            .await
            .verdicts
            .admit()
    );
    assert_eq!(server.calls(), before + 1, "what was held has ended");
}

#[test]
fn a_flood_of_callers_is_bounded() {
    let policies = policies(&[Quota::per_second(1_000)]);
    for most in [2, 63, 1_000, 65_536] {
        let leases = LeaseTable::new(25, NonZeroUsize::new(most).unwrap());
        let id = |name: u32| Id::new(key(&name.to_string()), &policies);
        let open = |name| leases.open(id(name), &policies, |_, opened| opened);
        open(0);
        for stranger in 1..2 * most as u32 + 1_000 {
            assert_eq!(open(stranger), Opened::New);
            assert!(
                most < 63 || open(0) == Opened::Existing,
                "{most}, {stranger}"
            );
        }
        assert!(leases.len() <= most, "{} of {most}", leases.len());
        assert!(leases.len() >= most / 3, "{} of {most}", leases.len());
    }
}

#[tokio::test]
async fn stored_keys_are_hashes_and_expire() {
    let Some(server) = Server::start() else {
        return;
    };
    let node = store(&server.url(), 0);
    let policies = policies(&[Quota::per_minute(60), Quota::per_hour(5)]);
    decide(&node, key("alice"), &policies, 1, Purpose::Acquire).await;
    let keys = server.ask("KEYS *");
    let keys: Vec<&str> = keys
        .lines()
        .filter(|line| line.starts_with("pc1:{"))
        .collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    let tag = |key: &str| key.split(['{', '}']).nth(1).map(str::to_owned);
    assert_eq!(
        tag(keys[0]),
        tag(keys[1]),
        "one slot of a cluster for one caller"
    );
    for key in keys {
        let ttl = server.ask(&format!("PTTL {key}"));
        let ttl: i64 = ttl
            .trim_start_matches(':')
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=720_000).contains(&ttl), "{ttl}");
        let tat = server.ask(&format!("GET {key}"));
        assert!(
            tat.lines().nth(1).unwrap().len() == 19,
            "nanoseconds: {tat}"
        );
    }
}

/// The name under which the server keeps what its only caller owes.
fn stored(server: &Server) -> String {
    let keys = server.ask("KEYS *");
    let name = keys.lines().find(|line| line.starts_with("pc1:{"));
    name.unwrap().to_owned()
}

#[tokio::test]
async fn quotas_of_a_caller_share_a_slot() {
    let (bus, folder) = (server::free_port().to_string(), std::env::temp_dir());
    let file = format!("portcullis-cluster-{}-{bus}.conf", std::process::id());
    let settings = [
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus],
        ["--dir", folder.to_str().unwrap()],
        ["--cluster-config-file", &file],
    ];
    let Some(server) = Server::start_with(settings.as_flattened()) else {
        return;
    };
    server.ask("CLUSTER ADDSLOTSRANGE 0 16383");
    while !server.ask("CLUSTER INFO").contains("cluster_state:ok") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elsewhere = server.ask("EVAL \"return 1\" 2 pc1:{a}:1 pc1:{b}:1");
    assert!(elsewhere.starts_with("-CROSSSLOT"), "control: {elsewhere}");
    let policies = policies(&[Quota::per_hour(3), Quota::per_day(100)]);
    for caller in ["alice", "bob", "carol"] {
        let store = store(&server.url(), 0);
        assert_eq!(admitted(&store, caller, &policies, 9).await, 3, "{caller}");
    }
    drop(server);
    std::fs::remove_file(folder.join(file)).unwrap();
}

#[tokio::test]
async fn a_clock_set_back_locks_out_no_caller() {
    let Some(server) = Server::start() else {
        return;
    };
    let (backend, one) = (backend(&server.url()), [LeaseRequest::exactly(1)]);
    let policies = policies(&[Quota::per(1, Duration::from_millis(100))]);
    for action in [Action::Acquire, Action::Peek] {
        ask(&backend, Action::Charge, key("alice"), &policies, &one).await;
        // All that was ever debt lies a year ahead.
        let ahead = Clock::System.unix_time() + 365 * 24 * 3_600 * SECOND;
        server.ask(&format!("SET {} {}", stored(&server), ahead.as_nanos()));
        let reply = ask(&backend, action, key("alice"), &policies, &one).await;
        assert!(!reply.granted);
        assert_eq!(
            reply.answers[0].debt, 200_000_000,
            "as much as can ever be debt"
        );
        tokio::time::sleep(Duration::from_millis(210)).await;
        let reply = ask(&backend, Action::Acquire, key("alice"), &policies, &one).await;
        assert!(reply.granted, "{reply:?}");
    }
}

#[tokio::test]
async fn foreign_values_count_as_no_debt() {
    let Some(server) = Server::start() else {
        return;
    };
    let (backend, one) = (backend(&server.url()), [LeaseRequest::exactly(1)]);
    let policies = policies(&[Quota::per_hour(2)]);
    ask(&backend, Action::Acquire, key("alice"), &policies, &one).await;
    let name = stored(&server);
    for garbage in [
        "SET {name} nan",
        "SET {name} -1",
        "SET {name} 1e300",
        "SET {name} \"\"",
        "LPUSH {name} 1",
    ] {
        server.ask(&format!("DEL {name}"));
        let answer = server.ask(&garbage.replace("{name}", &name));
        assert!(!answer.starts_with('-'), "{answer}");
        for granted in [true, true, false] {
            let reply = ask(&backend, Action::Acquire, key("alice"), &policies, &one).await;
            assert_eq!(reply.granted, granted, "{garbage}");
        }
    }
    assert_eq!(backend.stats().errors, 0);
}

#[tokio::test]
async fn extreme_quotas_work_on_the_server() {
    let Some(server) = Server::start() else {
        return;
    };
    let backend = backend(&server.url());
    for (quota, permits) in [
        (Quota::per(1, Duration::MAX).burst(u32::MAX), 1),
        (Quota::per(1, Duration::from_secs(100 << 22)), 1),
        (Quota::per_second(u32::MAX).burst(u32::MAX), u32::MAX),
        (Quota::per_second(1).burst(0), 0),
    ] {
        let policies = policies(&[quota]);
        let alice = key(&format!("{quota:?}"));
        for action in [
            Action::Peek,
            Action::Acquire,
            Action::Charge,
            Action::Charge,
        ] {
            let request = [LeaseRequest::exactly(permits.max(1))];
            let reply = ask(&backend, action, alice, &policies, &request).await;
            assert!(
                action == Action::Charge || reply.granted == (permits > 0),
                "{quota:?} {action:?}: {reply:?}"
            );
        }
        let more = [LeaseRequest::exactly(u32::MAX)];
        let refused = ask(&backend, Action::Acquire, alice, &policies, &more).await;
        assert!(!refused.granted, "{quota:?}");
    }
}

#[tokio::test]
async fn a_forgotten_script_is_sent_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let backend = backend(&server.url());
    let policies = policies(&[Quota::per_minute(60)]);
    for _ in 0..3 {
        let reply = ask(
            &backend,
            Action::Acquire,
            key("alice"),
            &policies,
            &[LeaseRequest::exactly(1)],
        )
        .await;
        assert!(reply.granted);
        server.ask("SCRIPT FLUSH");
    }
}

#[test]
fn metrics_show_an_outage() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let value = |name: &str| {
        let text = handle.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().parse::<f64>().unwrap())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let backend = backend(&server.url());
            let policies = policies(&[Quota::per_hour(2), Quota::per_day(2)]);
            let requests = [LeaseRequest::exactly(1); 2];
            ask(
                &backend,
                Action::Acquire,
                key("alice"),
                &policies,
                &requests,
            )
            .await;
            assert_eq!(
                value("portcullis_ratelimit_store_up"),
                None,
                "no outage yet"
            );

            server.kill();
            while backend.is_up(backend.now()) {
                let answer = backend.run(Action::Acquire, key("alice"), &policies, &requests);
                assert!(answer.await.is_err());
            }
            for policy in ["p0", "p1"] {
                let name =
                    format!("portcullis_ratelimit_store_errors_total{{policy=\"{policy}\"}}");
                assert_eq!(value(&name), Some(5.0));
            }
            assert_eq!(value("portcullis_ratelimit_store_up"), Some(0.0));

            server.restart();
            while !backend.is_up(backend.now()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(value("portcullis_ratelimit_store_up"), Some(1.0));
            let degraded = value("portcullis_ratelimit_store_degraded_seconds");
            assert_eq!(degraded, Some(backend.stats().degraded.as_secs_f64()));
        });
    });
}

/// A server that answers every script with the same bytes.
async fn impostor(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(BufStream::new(stream), answer));
        }
    });
    url
}

async fn converse(mut stream: BufStream<TcpStream>, answer: &str) -> std::io::Result<()> {
    loop {
        let mut words = Vec::new();
        let number = number_in_line(&mut stream).await?;
        for _ in 0..number {
            let mut word = vec![0; number_in_line(&mut stream).await? + 2];
            stream.read_exact(&mut word).await?;
            words.push(word);
        }
        let answer = if words[0] == b"EVALSHA\r\n" {
            answer
        } else {
            "+OK\r\n"
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// The number of `*3` or `$7`.
async fn number_in_line(stream: &mut BufStream<TcpStream>) -> std::io::Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let number = line
        .trim_end()
        .get(1..)
        .and_then(|number| number.parse().ok());
    number.ok_or(std::io::ErrorKind::UnexpectedEof.into())
}

#[tokio::test]
async fn impossible_replies_are_rejected() {
    let policies = policies(&[Quota::per_hour(10)]);
    let request = [LeaseRequest {
        min: 1,
        desired: 4,
        floor: 0,
    }];
    let generous = backend(&impostor("*3\r\n:1\r\n:0\r\n:4294967295\r\n").await);
    let reply = ask(
        &generous,
        Action::Acquire,
        key("alice"),
        &policies,
        &request,
    )
    .await;
    assert_eq!(reply.answers[0].permits, 4);
    let merciless = backend(&impostor("*3\r\n:0\r\n:9223372036854775807\r\n:0\r\n").await);
    let reply = ask(
        &merciless,
        Action::Acquire,
        key("alice"),
        &policies,
        &request,
    )
    .await;
    assert_eq!(reply.answers[0].debt, 2 * 3_600_000_000_000);

    for nonsense in [
        "*0\r\n",
        "*1\r\n:1\r\n",
        "*2\r\n:1\r\n:0\r\n",
        "*5\r\n:1\r\n:0\r\n:1\r\n:0\r\n:1\r\n",
        "*3\r\n:1\r\n:-1\r\n:1\r\n",
        "*3\r\n:1\r\n:1\r\n:-1\r\n",
        "*3\r\n:1\r\n$-1\r\n$3\r\nNaN\r\n",
        ":1\r\n",
        "+OK\r\n",
        "$-1\r\n",
        "-HUSH-HUSH secret\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let backend = backend(&impostor(nonsense).await);
        for _ in 0..5 {
            let reply = backend
                .run(Action::Acquire, key("alice"), &policies, &request)
                .await;
            assert!(reply.is_err(), "{nonsense:?}: {reply:?}");
        }
        let record = backend.stats();
        assert!(record.is_open, "{nonsense:?}");
        assert!(
            matches!(record.last_error, Some("server" | "connection")),
            "{record:?}"
        );
    }
}

/// What the test asks, at which quotas.
type Asked = (Vec<(u32, u32, u32)>, Vec<Vec<(u32, u32, u32)>>);

/// Quotas as (permits a second, burst, divisor of the rate), and requests as (min, more that is
/// wanted, floor).
fn asked() -> impl Strategy<Value = Asked> {
    let quota = (
        1..5_000_u32,
        0..300_u32,
        prop_oneof![Just(1), Just(3_600), Just(86_400)],
    );
    (1..4_usize).prop_flat_map(move |count| {
        let quotas = prop::collection::vec(quota.clone(), count);
        let request = (1..20_u32, 0..60_u32, 0..20_u32);
        let requests = prop::collection::vec(prop::collection::vec(request, count), 1..25);
        (quotas, requests)
    })
}

#[test]
fn the_script_decides_as_memory_does() {
    let Some(server) = Server::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let backend = backend(&server.url());
    let mut runner = TestRunner::new(Config::with_cases(200));
    let callers = std::cell::Cell::new(0_u64);
    let result = runner.run(&asked(), |(quotas, rounds)| {
        callers.set(callers.get() + 1);
        let quotas: Vec<Quota> = quotas
            .iter()
            .map(|(permits, burst, divisor)| Quota::per(*permits, SECOND * *divisor).burst(*burst))
            .collect();
        let (policies, key) = (policies(&quotas), key(&callers.get().to_string()));
        let mut central = vec![Central::default(); quotas.len()];
        let mut now = 0;
        for round in rounds {
            let requests: Vec<LeaseRequest> = round
                .iter()
                .map(|(min, more, floor)| LeaseRequest {
                    min: *min,
                    desired: min + more,
                    floor: *floor,
                })
                .collect();
            let reply = runtime.block_on(ask(&backend, Action::Acquire, key, &policies, &requests));
            // Only the server knows its time; it follows from the debt of one quota.
            let elapsed = central
                .iter()
                .zip(&reply.answers)
                .find_map(|(central, answer)| {
                    (answer.debt > 0).then(|| central.debt_at(now).saturating_sub(answer.debt))
                });
            match elapsed {
                Some(elapsed) => now += elapsed,
                None => {
                    now = central
                        .iter()
                        .map(|central| central.tat())
                        .max()
                        .unwrap_or(now)
                        .max(now)
                }
            }
            let look = |(central, (policy, request)): (
                &Central,
                (&crate::rate_limit::policy::Policy, &LeaseRequest),
            )| { central.peek(&policy.gcra, now, *request) };
            let looks: Vec<_> = central
                .iter()
                .zip(policies.iter().zip(&requests))
                .map(look)
                .collect();
            let granted = looks.iter().all(|(_, permits)| permits.is_some());
            prop_assert_eq!(reply.granted, granted, "{:?} {:?}", looks, reply);
            for ((debt, permits), answer) in looks.iter().zip(&reply.answers) {
                prop_assert_eq!(*debt, answer.debt);
                if granted {
                    prop_assert_eq!(*permits, Some(answer.permits));
                }
            }
            if granted {
                for ((central, policy), request) in
                    central.iter_mut().zip(policies.iter()).zip(&requests)
                {
                    central.charge(&policy.gcra, now, *request);
                }
            }
        }
        Ok(())
    });
    result.unwrap();
}
