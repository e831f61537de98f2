//! Simulates 1 to 64 nodes that lease: how often they call the store, how much of a quota they use,
//! and by how much they exceed it, beside nodes that count locally and synchronize their counters.
//!
//! ```sh
//! cargo test --release --lib lease::simulation -- --ignored --nocapture
//! LEASE_CHART=docs/rate-limits.svg cargo test --release --lib lease::simulation -- --ignored
//! ```
//!
//! Requests arrive at random (Poisson), equally many at each node; a call takes 0.5 ms there and
//! back. Every figure is the mean of several runs of 10 s that begin with a full bucket, and the
//! bound is checked in each of them. The seeds are fixed, so every run prints the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::num::NonZeroU32;

use super::{Lease, LeaseRequest, LeaseTerms};
use crate::rate_limit::central::Central;
use crate::rate_limit::gcra::Gcra;
use crate::rate_limit::quota::Quota;

const SECOND: u64 = 1_000_000_000;
const HALF_TRIP: u64 = 250_000;
const START: u64 = 3_600 * SECOND;
/// Nodes measure their demand first; these requests are not counted.
const WARM_UP: u64 = 2 * SECOND;
const RUN: u64 = 10 * SECOND;
const LONG_RUN: u64 = 100 * SECOND;
const SEEDS: u64 = 8;
const PERCENT: u8 = 25;

/// What is simulated.
#[derive(Clone, Copy)]
struct Scene {
    rate: u32,
    burst: u32,
    nodes: usize,
    /// Requests, as a multiple of what the quota admits.
    demand: f64,
    run: u64,
}

/// What decides.
#[derive(Clone, Copy)]
enum Limiter {
    Leased,
    /// Counters that are synchronized at this interval.
    Synchronized(u64),
}

/// The result of several runs.
#[derive(Clone, Copy)]
struct Found {
    /// Calls to the store, per request.
    calls: f64,
    /// Admitted requests, as a part of what one exact limiter admits.
    used: f64,
    /// The most requests that any window held beyond the rate.
    beyond: f64,
    /// The most requests that any second held, as a multiple of the rate.
    fullest: f64,
}

/// The counts of one run.
#[derive(Default)]
struct Tally {
    requests: u64,
    /// Calls to the store.
    calls: u64,
    /// When requests were admitted, from the start.
    admitted: Vec<u64>,
    /// How many one exact limiter would have admitted.
    exact: u64,
}

/// One node that leases.
#[derive(Default)]
struct Node {
    lease: Lease,
    is_requesting: bool,
    waiting: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request,
    /// A request arrives at the store.
    Arrives {
        request: [u32; 3],
        sent: u64,
    },
    /// The store's answer arrives; `granted` is 0 for a refusal.
    Returns {
        request: [u32; 3],
        sent: u64,
        debt: u64,
        granted: u32,
    },
    /// A request was sent for itself alone.
    Alone,
}

/// Events in the request of their time.
#[derive(Default)]
struct Queue(BinaryHeap<Reverse<(u64, usize, Event)>>);

/// Splitmix64.
struct Random(u64);

// === impl Scene ===

impl Scene {
    fn mean_gap(&self) -> f64 {
        self.nodes as f64 * SECOND as f64 / (self.demand * f64::from(self.rate))
    }

    fn quota(&self) -> Quota {
        Quota::per_second(self.rate).burst(self.burst)
    }

    fn find(&self, limiter: Limiter) -> Found {
        let runs: Vec<Tally> = (1..=SEEDS)
            .map(|seed| match limiter {
                Limiter::Leased => self.leased(seed),
                Limiter::Synchronized(every) => self.synchronized(seed, every),
            })
            .collect();
        let mean = |of: fn(&Tally) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let most = |of: &dyn Fn(&Tally) -> f64| runs.iter().map(of).fold(0.0, f64::max);
        Found {
            calls: mean(Tally::calls_per_request),
            used: mean(Tally::utilisation),
            beyond: most(&|run| run.beyond(self.rate)),
            fullest: most(&|run| run.fullest_second() as f64 / f64::from(self.rate)),
        }
    }

    fn leased(&self, seed: u64) -> Tally {
        let gcra = Gcra::new(&self.quota());
        let terms = LeaseTerms::new(gcra, PERCENT);
        let (mut random, mut queue) = (Random(seed), Queue::default());
        let (mut central, mut exact) = (Central::default(), 0);
        let mut nodes: Vec<Node> = (0..self.nodes).map(|_| Node::default()).collect();
        let mut tally = Tally::default();
        for number in 0..self.nodes {
            queue.add(START + random.gap(self.mean_gap()), number, Event::Request);
        }
        while let Some(Reverse((now, number, event))) = queue.0.pop() {
            if now > START + WARM_UP + self.run {
                break;
            }
            let counts = u64::from(now >= START + WARM_UP);
            let node = &mut nodes[number];
            match event {
                Event::Request => {
                    tally.requests += counts;
                    let step = gcra.decide(exact, now, NonZeroU32::MIN);
                    exact = step.tat;
                    tally.exact += counts * u64::from(step.verdict.retry_after.is_none());
                    queue.add(now + random.gap(self.mean_gap()), number, Event::Request);
                    node.lease.record_demand(&terms, now, 1);
                    if terms.leases(1) && node.lease.permits(now) > 0 {
                        node.lease.spend(1);
                        tally.admitted.push(now);
                        if !node.is_requesting
                            && let Some(request) = node.lease.request_ahead(&terms, now)
                        {
                            tally.calls += counts;
                            node.send(request, now, number, &mut queue);
                        }
                    } else if node.lease.local_refusal(&terms, now, 1).is_some() {
                    } else if !terms.leases(1) {
                        tally.calls += counts;
                        queue.add(now + HALF_TRIP, number, Event::Alone);
                    } else {
                        node.waiting += 1;
                        if !node.is_requesting {
                            tally.calls += counts;
                            let request = node.lease.request(&terms, now, 1);
                            node.send(request, now, number, &mut queue);
                        }
                    }
                }
                Event::Alone => {
                    let (debt, granted) = central.charge(&gcra, now, LeaseRequest::exactly(1));
                    node.lease
                        .set_debt(now - HALF_TRIP, debt + gcra.price(granted.unwrap_or(0)));
                    tally.admitted.extend(granted.map(|_| now));
                }
                Event::Arrives { request, sent } => {
                    let (debt, granted) = central.charge(&gcra, now, read(request));
                    let granted = granted.unwrap_or(0);
                    let answer = Event::Returns {
                        request,
                        sent,
                        debt,
                        granted,
                    };
                    queue.add(now + HALF_TRIP, number, answer);
                }
                Event::Returns {
                    request,
                    sent,
                    debt,
                    granted,
                } => {
                    node.is_requesting = false;
                    node.lease.set_debt(sent, debt + gcra.price(granted));
                    if granted > 0 {
                        node.lease.granted(&terms, sent, now, granted);
                    } else {
                        let jitter = (random.next() >> 32) as u32;
                        node.lease.refused(&terms, now, read(request), jitter);
                    }
                    while node.waiting > 0 && node.lease.permits(now) > 0 {
                        node.waiting -= 1;
                        node.lease.spend(1);
                        tally.admitted.push(now);
                    }
                    if granted < request[1] {
                        node.waiting = 0;
                    } else if node.waiting > 0 {
                        tally.calls += counts;
                        let request = node.lease.request(&terms, now, 1);
                        node.send(request, now, number, &mut queue);
                    }
                }
            }
        }
        tally
    }

    /// Nodes that count locally within calendar seconds, and add up their counts at an interval,
    /// as Kong (`sync_rate`) and limitador (`redis_cached`) do.
    fn synchronized(&self, seed: u64, every: u64) -> Tally {
        let gcra = Gcra::new(&self.quota());
        let mut exact = 0;
        let mut random = Random(seed);
        let mut queue = Queue::default();
        let mut tally = Tally::default();
        // For each node: its window, the last known sum of all nodes, and its own count since then.
        let mut nodes = vec![(0_u64, 0_u64, 0_u64); self.nodes];
        let mut all = (0_u64, 0_u64);
        let mut next_sync: Vec<u64> = (0..self.nodes)
            .map(|_| START + random.next() % every)
            .collect();
        for number in 0..self.nodes {
            queue.add(START + random.gap(self.mean_gap()), number, Event::Request);
        }
        while let Some(Reverse((now, number, _))) = queue.0.pop() {
            if now > START + WARM_UP + self.run {
                break;
            }
            let counts = u64::from(now >= START + WARM_UP);
            tally.requests += counts;
            let step = gcra.decide(exact, now, NonZeroU32::MIN);
            exact = step.tat;
            tally.exact += counts * u64::from(step.verdict.retry_after.is_none());
            queue.add(now + random.gap(self.mean_gap()), number, Event::Request);
            let window = now / SECOND;
            let (of, known, added) = &mut nodes[number];
            if *of != window {
                (*of, *known, *added) = (window, 0, 0);
            }
            if all.0 != window {
                all = (window, 0);
            }
            if next_sync[number] <= now {
                next_sync[number] = now + every;
                all.1 += *added;
                (*known, *added) = (all.1, 0);
                tally.calls += counts;
            }
            if *known + *added < u64::from(self.rate) {
                *added += 1;
                tally.admitted.push(now);
            }
        }
        tally
    }
}

fn read([min, desired, floor]: [u32; 3]) -> LeaseRequest {
    LeaseRequest {
        min,
        desired,
        floor,
    }
}

// === impl Node ===

impl Node {
    fn send(&mut self, request: LeaseRequest, sent: u64, number: usize, queue: &mut Queue) {
        self.is_requesting = true;
        let request = [request.min, request.desired, request.floor];
        queue.add(sent + HALF_TRIP, number, Event::Arrives { request, sent });
    }
}

// === impl Tally ===

impl Tally {
    fn calls_per_request(&self) -> f64 {
        self.calls as f64 / self.requests as f64
    }

    /// Admitted requests, as a part of what one exact limiter would have admitted.
    fn utilisation(&self) -> f64 {
        let counted = self
            .admitted
            .iter()
            .filter(|time| **time >= START + WARM_UP);
        counted.count() as f64 / self.exact as f64
    }

    /// The most requests that any window held beyond the rate.
    fn beyond(&self, rate: u32) -> f64 {
        let (mut level, mut worst, mut last) = (0.0_f64, 0.0_f64, START);
        for time in &self.admitted {
            level = (level - (time - last) as f64 * f64::from(rate) / SECOND as f64).max(0.0) + 1.0;
            worst = worst.max(level);
            last = *time;
        }
        worst
    }

    /// The most requests that any window of one second held.
    fn fullest_second(&self) -> usize {
        let mut from = 0;
        let count = |(to, time): (usize, &u64)| {
            while self.admitted[from] + SECOND <= *time {
                from += 1;
            }
            to - from + 1
        };
        self.admitted
            .iter()
            .enumerate()
            .map(count)
            .max()
            .unwrap_or(0)
    }
}

// === impl Queue ===

impl Queue {
    fn add(&mut self, at: u64, number: usize, event: Event) {
        self.0.push(Reverse((at, number, event)));
    }
}

// === impl Random ===

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn gap(&mut self, mean: f64) -> u64 {
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        ((-uniform.ln() * mean) as u64).max(1)
    }
}

const DEMANDS: [f64; 4] = [0.5, 1.0, 2.0, 10.0];

/// Rate, burst, nodes; and for each demand the calls per request and the used part, as an earlier
/// simulation of the same algorithm found them.
type Row = (u32, u32, usize, [(f64, f64); 4]);

#[rustfmt::skip]
const TABLE: [Row; 11] = [
    (10_000, 10_000, 4, [(0.004, 1.0), (0.002, 1.0), (0.007, 0.994), (0.002, 0.996)]),
    (10_000, 10_000, 16, [(0.017, 1.0), (0.011, 0.999), (0.015, 0.981), (0.004, 0.996)]),
    (10_000, 10_000, 64, [(0.072, 1.0), (0.051, 0.992), (0.053, 0.972), (0.010, 0.995)]),
    (1_000, 1_000, 4, [(0.045, 1.0), (0.023, 1.0), (0.071, 0.994), (0.016, 0.997)]),
    (1_000, 1_000, 16, [(0.194, 1.0), (0.140, 0.979), (0.141, 0.979), (0.036, 0.996)]),
    (1_000, 1_000, 64, [(0.650, 1.0), (0.597, 0.959), (0.494, 0.956), (0.095, 0.995)]),
    (100, 100, 4, [(0.488, 1.0), (0.337, 1.0), (0.551, 0.993), (0.135, 0.999)]),
    (100, 100, 16, [(0.880, 1.0), (0.732, 1.0), (0.752, 0.986), (0.259, 0.999)]),
    (100, 100, 64, [(0.992, 1.0), (0.969, 1.0), (0.906, 0.974), (0.511, 0.997)]),
    (10, 20, 1, [(0.708, 1.0), (0.507, 1.0), (0.628, 1.0), (0.197, 1.0)]),
    (10, 20, 16, [(1.0, 1.0), (1.0, 1.0), (0.935, 1.0), (0.685, 1.0)]),
];

/// Tolerances; `ROUNDED` is half of the last digit.
const MAX_CALLS_RATIO: f64 = 1.2;
const ROUNDED: f64 = 0.0005;
const MIN_USED_RATIO: f64 = 0.95;

#[test]
#[ignore = "a long run: a minute in release mode"]
fn leases_keep_their_bound_and_their_cost() {
    let mut broken = Vec::new();
    println!(
        "calls per request / used, by demand as a multiple of the quota (leases of {PERCENT} %; \
         * for {} s)",
        LONG_RUN / SECOND
    );
    println!(
        "{:>9} {:>6} {:>5}   {:<14}{:<14}{:<14}{:<14}{:<14} worst window, of its bound",
        "rate", "burst", "nodes", 0.5, 1.0, 2.0, 10.0, "1 *"
    );
    for row in TABLE {
        broken.extend(print_row(row));
    }
    let chart = Chart::measure();
    chart.print();
    broken.extend(chart.broken());
    if let Ok(file) = std::env::var("LEASE_CHART") {
        std::fs::write(file, chart.draw()).expect("the file");
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn print_row((rate, burst, nodes, expected): Row) -> Vec<String> {
    let scene = |demand, run| Scene {
        rate,
        burst,
        nodes,
        demand,
        run,
    };
    let terms = LeaseTerms::new(Gcra::new(&scene(1.0, RUN).quota()), PERCENT);
    let bound = f64::from(burst) + terms.excess() as f64;
    let (mut broken, mut worst) = (Vec::new(), 0.0_f64);
    let mut hold = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("{rate}/s, {nodes} nodes, {what}"));
        }
    };
    print!("{rate:>7}/s {burst:>6} {nodes:>5}   ");
    for (demand, (calls, used)) in DEMANDS.into_iter().zip(expected) {
        let found = scene(demand, RUN).find(Limiter::Leased);
        print!("{:<14}", format!("{:.3} / {:.3}", found.calls, found.used));
        worst = worst.max(found.beyond / bound);
        let most = (calls + ROUNDED) * MAX_CALLS_RATIO;
        hold(
            found.calls <= most,
            format!("demand {demand}: {:.3} calls, not {calls}", found.calls),
        );
        hold(
            found.used >= used * MIN_USED_RATIO,
            format!("demand {demand}: {:.3} used, not {used}", found.used),
        );
    }
    // If demand equals the quota, it is random when the bucket is first empty; from then on leases
    // are small, so in a long run there are more calls and less is used. Only the bound is checked.
    let long = scene(1.0, LONG_RUN).find(Limiter::Leased);
    print!("{:<14}", format!("{:.3} / {:.3}", long.calls, long.used));
    worst = worst.max(long.beyond / bound);
    println!(" {worst:.2}");
    hold(worst <= 1.0, format!("beyond the bound, {worst:.3} of it"));
    broken
}

/// A quota of 1,000 a second with a burst of 250, leased and by counters, for 1 to 64 nodes.
struct Chart(Vec<Point>);

/// One value per limiter.
struct Point {
    nodes: usize,
    /// At a demand of twice the quota.
    busy: [Found; 3],
    /// At a demand of ten times the quota.
    attacked: [Found; 3],
}

/// One of the three panels of the chart.
struct Panel {
    title: &'static str,
    /// Between two grid lines.
    step: f64,
    lines: u32,
    read: fn(&Point, usize) -> f64,
}

const NODES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

const LIMITERS: [(&str, &str, Limiter); 3] = [
    ("leased", "#0a7d4f", Limiter::Leased),
    (
        "counters, every 100 ms",
        "#d98200",
        Limiter::Synchronized(SECOND / 10),
    ),
    (
        "counters, every second",
        "#c0392b",
        Limiter::Synchronized(SECOND),
    ),
];

const PANELS: [Panel; 3] = [
    Panel {
        title: "most requests in any second, of the rate (demand x 10)",
        step: 1.0,
        lines: 9,
        read: |point, limiter| point.attacked[limiter].fullest,
    },
    Panel {
        title: "used part of the quota (demand x 2)",
        step: 0.25,
        lines: 9,
        read: |point, limiter| point.busy[limiter].used,
    },
    Panel {
        title: "calls per request (demand x 2)",
        step: 0.1,
        lines: 9,
        read: |point, limiter| point.busy[limiter].calls,
    },
];

// === impl Chart ===

impl Chart {
    fn measure() -> Self {
        let find = |nodes, demand| {
            let scene = Scene {
                rate: 1_000,
                burst: 250,
                nodes,
                demand,
                run: RUN,
            };
            LIMITERS.map(|(_, _, limiter)| scene.find(limiter))
        };
        let points = NODES.map(|nodes| Point {
            nodes,
            busy: find(nodes, 2.0),
            attacked: find(nodes, 10.0),
        });
        Self(points.into())
    }

    /// A burst of a quarter of the rate, and leases of a quarter of that burst.
    fn broken(&self) -> impl Iterator<Item = String> {
        let points = self
            .0
            .iter()
            .filter(|point| point.attacked[0].fullest > 1.3125);
        points.map(|point| {
            format!(
                "{} nodes: {} times the quota in a second",
                point.nodes, point.attacked[0].fullest
            )
        })
    }

    fn print(&self) {
        for panel in PANELS {
            println!("\n1,000/s, burst 250: {}", panel.title);
            print!("{:>5}", "nodes");
            LIMITERS
                .iter()
                .for_each(|(name, ..)| print!("  {name:>22}"));
            println!();
            for point in &self.0 {
                print!("{:>5}", point.nodes);
                (0..LIMITERS.len())
                    .for_each(|limiter| print!("  {:>22.3}", (panel.read)(point, limiter)));
                println!();
            }
        }
    }

    fn draw(&self) -> String {
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1080 380\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"1080\" height=\"380\" fill=\"white\"/>\n",
        );
        for (i, panel) in PANELS.iter().enumerate() {
            let _ = writeln!(svg, "<g transform=\"translate({} 0)\">", 360 * i);
            self.draw_panel(panel, &mut svg);
            svg.push_str("</g>\n");
        }
        for (i, (name, color, _)) in LIMITERS.iter().enumerate() {
            let x = 220 + 240 * i;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"370\" fill=\"{color}\">\u{25cf} {name}</text>"
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_panel(&self, panel: &Panel, svg: &mut String) {
        let x = |i: usize| 60.0 + 44.0 * i as f64;
        let y = |value: f64| 310.0 - 30.0 * value / panel.step;
        let _ = writeln!(svg, "<text x=\"36\" y=\"24\">{}</text>", panel.title);
        for line in 0..=panel.lines {
            let value = f64::from(line) * panel.step;
            let (at, text) = (y(value), y(value) + 4.0);
            let _ = writeln!(
                svg,
                "<path d=\"M50 {at:.0}H334\" stroke=\"#ddd\"/><text x=\"44\" y=\"{text:.0}\" text-anchor=\"end\" font-size=\"11\">{}</text>",
                (value * 100.0).round() / 100.0
            );
        }
        for (i, point) in self.0.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"330\" text-anchor=\"middle\" font-size=\"11\">{}</text>",
                x(i),
                point.nodes
            );
        }
        svg.push_str(
            "<text x=\"192\" y=\"347\" text-anchor=\"middle\" font-size=\"11\">nodes</text>\n",
        );
        for (limiter, (_, color, _)) in LIMITERS.iter().enumerate() {
            let points = self.0.iter().enumerate();
            let points = points
                .map(|(i, point)| format!("{:.1},{:.1}", x(i), y((panel.read)(point, limiter))));
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"/>",
                points.join(" ")
            );
        }
    }
}
