//! Many processes share one server. Processes are paused, killed and restarted, and no window
//! contains more admissions than the bound.
//!
//! A node records the time before and after each request. The decision was made between these
//! times. A request that took at most 10 ms is counted at its end, and the bound is extended by
//! 10 ms. A request that took longer, because its process was paused, is not counted.
//!
//! The nodes first collect permits and then spend them at the same time. They take turns: each node
//! requests slightly more than one caller's quota admits, so it keeps leased permits while the
//! bucket refills. Then all nodes send as many requests as they can. If permits outlived their TTL,
//! the bound would be exceeded.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use portcullis::rate_limit::{OnOutage, RedisStore};
use portcullis::{Clock, Quota};
use tokio::task::JoinSet;

use crate::server::{Server, signal};
use crate::{SECRET, ask, limited};

/// Low, so that even slow nodes spend a burst at once.
const RATE: u32 = 500;
const BURST: u32 = 100;
/// The nodes collect permits of the first caller.
const CALLERS: u64 = 17;
/// Requests of the node whose turn it is, as a multiple of the rate. More than 1, because paused
/// nodes miss their turns.
const CALM: f64 = 1.2;
const TURN: u64 = 200_000_000;
/// The number of turns in a cycle. In the last turn all nodes send requests.
const CYCLE: u64 = 15;
const TASKS: u64 = 8;
const RECORD: usize = 24;
const BLUR: u64 = 10_000_000;

struct Run {
    nodes: usize,
    grants: u64,
}

/// One process of the fleet. Killed on drop.
struct Node {
    child: Child,
    number: usize,
    paused: bool,
}

#[test]
fn a_small_fleet_keeps_the_bound() {
    Run {
        nodes: 6,
        grants: 10_000,
    }
    .check();
}

#[test]
#[ignore = "a long run: 16 processes, a million grants"]
fn a_large_fleet_keeps_the_bound() {
    Run {
        nodes: 16,
        grants: 1_000_000,
    }
    .check();
}

/// Not a test: the program of a node.
#[test]
#[ignore = "started by the runs above"]
fn a_node() {
    let vars = ["FLEET_URL", "FLEET_FOLDER", "FLEET_NODES", "FLEET_NUMBER"].map(env::var);
    let [Ok(url), Ok(folder), Ok(nodes), Ok(number)] = vars else {
        return;
    };
    let file = Path::new(&folder).join(&number);
    let turn = [number, nodes].map(|number| number.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(send_requests(&url, &file, turn));
}

async fn send_requests(url: &str, file: &Path, turn: [u64; 2]) {
    let store = RedisStore::new(url, SECRET)
        .unwrap()
        .on_outage(OnOutage::Closed);
    let service = limited(&store, quota());
    let mut tasks: JoinSet<()> = (0..TASKS)
        .map(|task| {
            let service = service.clone();
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(file)
                .unwrap();
            async move {
                let mut random = Random(task + TASKS * u64::from(std::process::id()));
                loop {
                    let before = now();
                    let (caller, pause) = plan(before, turn, &mut random);
                    let status = ask(&service, &caller.to_string()).await;
                    let after = now();
                    if status == 200 {
                        let record = [caller, before, after].map(u64::to_le_bytes).concat();
                        // Unbuffered, so that the record survives the process.
                        file.write_all(&record).unwrap();
                    }
                    if pause > Duration::ZERO {
                        tokio::time::sleep(pause).await;
                    } else if status == 200 {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        })
        .collect();
    // The tasks never end.
    tasks.join_next().await.unwrap().unwrap();
}

/// The caller of this node's next request, and the pause of each of its tasks afterwards.
fn plan(at: u64, [number, nodes]: [u64; 2], random: &mut Random) -> (u64, Duration) {
    let turn = at / TURN;
    if turn % CYCLE == CYCLE - 1 {
        return (0, Duration::ZERO);
    }
    if turn % nodes == number {
        let pause = TASKS as f64 / (CALM * f64::from(RATE));
        return (0, Duration::from_secs_f64(pause));
    }
    let other = 1 + random.next() % (CALLERS - 1);
    (other, Duration::from_millis(10))
}

fn quota() -> Quota {
    Quota::per_second(RATE).burst(BURST)
}

fn now() -> u64 {
    u64::try_from(Clock::System.unix_time().as_nanos()).unwrap()
}

impl Run {
    fn check(&self) {
        let Some(server) = Server::start() else {
            return;
        };
        let folder = Folder::new();
        let mut random = Random(now());
        let (mut pauses, mut kills) = (0, 0);
        let start = |number| Node::start(number, self.nodes, &server.url(), &folder.0);
        let mut nodes: Vec<Node> = (0..self.nodes).map(start).collect();
        let began = now();
        while folder.grants() < self.grants {
            assert!(
                now() - began < 600_000_000_000,
                "only {} grants",
                folder.grants()
            );
            thread::sleep(Duration::from_millis(random.next() % 100));
            let which = (random.next() as usize) % nodes.len();
            let node = &mut nodes[which];
            if node.paused {
                node.resume();
            } else if random.next().is_multiple_of(8) {
                nodes[which] = start(which);
                kills += 1;
            } else {
                node.pause();
                pauses += 1;
            }
        }
        let seconds = (now() - began) as f64 / 1e9;
        let calls = server.calls();
        drop(nodes);

        let records = folder.records();
        let store = RedisStore::new(&server.url(), SECRET).unwrap();
        let bound = store.bound(&quota(), Duration::ZERO);
        let excess = bound - u64::from(BURST);
        let slack = (f64::from(RATE) * BLUR as f64 / 1e9).ceil();
        let (mut worst, mut counted) = (0.0_f64, 0);
        for caller in 0..CALLERS {
            let mut times: Vec<u64> = records
                .iter()
                .filter(|[of, before, after]| *of == caller && after - before <= BLUR)
                .map(|[.., after]| *after)
                .collect();
            times.sort_unstable();
            counted += times.len();
            worst = worst.max(most_beyond_the_rate(&times));
        }
        println!(
            "{} nodes, {CALLERS} callers at {RATE}/s, burst {BURST}: {} grants in {seconds:.0} s, {counted} of them timed, \
             {pauses} pauses, {kills} kills, {:.3} calls a grant",
            self.nodes,
            records.len(),
            calls as f64 / records.len() as f64,
        );
        println!(
            "worst window: {worst:.0} beyond the rate; bound: {BURST} + {excess}, and {slack} for the clock"
        );
        assert!(counted as u64 * 10 >= self.grants * 7, "{counted} timed");
        assert!(
            worst <= bound as f64 + slack,
            "violation: {worst} > {bound} + {slack}"
        );
    }
}

/// A bucket that leaks at the rate is fullest at the end of the window that exceeds the rate most.
fn most_beyond_the_rate(times: &[u64]) -> f64 {
    let (mut level, mut worst, mut last) = (0.0_f64, 0.0_f64, 0);
    for time in times {
        level = (level - (time - last) as f64 * f64::from(RATE) / 1e9).max(0.0) + 1.0;
        worst = worst.max(level);
        last = *time;
    }
    worst
}

#[test]
fn the_meter_finds_the_fullest_window() {
    let second = 1_000_000_000;
    let at_the_rate: Vec<u64> = (1..20_000).map(|i| i * second / u64::from(RATE)).collect();
    assert!(most_beyond_the_rate(&at_the_rate) < 2.0);
    let mut with_a_burst = at_the_rate;
    with_a_burst.extend([3 * second; 100]);
    with_a_burst.sort_unstable();
    let worst = most_beyond_the_rate(&with_a_burst);
    assert!((100.0..102.0).contains(&worst), "{worst}");
}

// === impl Node ===

impl Node {
    fn start(number: usize, nodes: usize, url: &str, folder: &Path) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "fleet::a_node", "--ignored"])
            .env("FLEET_URL", url)
            .env("FLEET_FOLDER", folder)
            .env("FLEET_NODES", nodes.to_string())
            .env("FLEET_NUMBER", number.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            child: child.unwrap(),
            number,
            paused: false,
        }
    }

    fn pause(&mut self) {
        signal(&self.child, "STOP");
        self.paused = true;
    }

    fn resume(&mut self) {
        signal(&self.child, "CONT");
        self.paused = false;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child
            .kill()
            .unwrap_or_else(|error| panic!("node {}: {error}", self.number));
        let _ = self.child.wait();
    }
}

/// The folder with the records of all nodes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder =
            env::temp_dir().join(format!("portcullis-fleet-{}-{}", std::process::id(), now()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().path())
    }

    fn grants(&self) -> u64 {
        self.files()
            .map(|file| fs::metadata(file).unwrap().len() / RECORD as u64)
            .sum()
    }

    fn records(&self) -> Vec<[u64; 3]> {
        let mut records = Vec::new();
        for file in self.files() {
            let bytes = fs::read(file).unwrap();
            records.extend(bytes.chunks_exact(RECORD).map(|record| {
                [0, 8, 16].map(|at| u64::from_le_bytes(record[at..at + 8].try_into().unwrap()))
            }));
        }
        records
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// SplitMix64. Its numbers need not be secret.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
