//! How often nodes that lease ask the store, how much of a quota they get to use, and how far beyond it they go, for 1 to 64
//! nodes: the library's own leases, in simulated time, beside nodes that count for themselves and synchronise counters.
//!
//! ```sh
//! cargo bench --bench lease_sim              # prints the table, fails where it is broken
//! cargo bench --bench lease_sim -- FILE.svg  # and draws the chart of docs/rate-limits.md
//! ```
//!
//! Requests come at random (Poisson), every node gets as many; a question takes 0.5 ms there and back. Everything comes
//! from one seed, so every run prints the same.

#![allow(missing_docs)]

#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../src/rate_limit/central.rs"]
mod central;
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../src/rate_limit/gcra.rs"]
mod gcra;
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../src/rate_limit/lease.rs"]
mod lease;
#[allow(dead_code, unused_imports, unreachable_pub)]
#[path = "../src/rate_limit/quota.rs"]
mod quota;
/// Where the sources above look for each other.
mod rate_limit {
    #[allow(unused_imports)]
    pub(crate) use super::{central, quota};
}

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::process::ExitCode;

use central::Central;
use gcra::Gcra;
use lease::{Lease, Order, Terms};
use quota::Quota;

const SECOND: u64 = 1_000_000_000;
const HALF_WAY: u64 = 250_000;
const START: u64 = 3_600 * SECOND;
/// Nodes learn what they are asked for; then it counts.
const WARM_UP: u64 = 5 * SECOND;
const RUN: u64 = 20 * SECOND;
const PERCENT: u8 = 25;

/// What is simulated.
#[derive(Clone, Copy)]
struct Scene {
    rate: u32,
    burst: u32,
    nodes: usize,
    /// Requests, by what the quota admits.
    demand: f64,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    requests: u64,
    /// Questions to the store.
    questions: u64,
    /// When requests were admitted, from the start.
    admitted: Vec<u64>,
    /// How many one exact limiter would have admitted.
    exact: u64,
}

/// One node that leases.
#[derive(Default)]
struct Node {
    lease: Lease,
    buys: bool,
    waiting: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Request,
    /// An order arrives at the store.
    Arrives {
        order: [u32; 3],
        sent: u64,
    },
    /// The store's answer arrives; `granted` is 0 for a refusal.
    Returns {
        order: [u32; 3],
        sent: u64,
        owed: u64,
        granted: u32,
    },
    /// One request was asked about, and nothing else.
    Alone,
}

/// Events in the order of their time.
#[derive(Default)]
struct Agenda(BinaryHeap<Reverse<(u64, usize, Event)>>);

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

    fn leased(&self) -> Tally {
        let gcra = Gcra::new(&self.quota());
        let terms = Terms::new(gcra, PERCENT);
        let (mut random, mut agenda) = (Random(42), Agenda::default());
        let (mut central, mut exact) = (Central::default(), 0);
        let mut nodes: Vec<Node> = (0..self.nodes).map(|_| Node::default()).collect();
        let mut tally = Tally::default();
        for number in 0..self.nodes {
            agenda.add(START + random.gap(self.mean_gap()), number, Event::Request);
        }
        while let Some(Reverse((now, number, event))) = agenda.0.pop() {
            if now > START + WARM_UP + RUN {
                break;
            }
            let counts = u64::from(now >= START + WARM_UP);
            let node = &mut nodes[number];
            match event {
                Event::Request => {
                    tally.requests += counts;
                    let step = gcra.decide(exact, now, NonZeroU32::MIN);
                    exact = step.arrival;
                    tally.exact += counts * u64::from(step.verdict.retry_after.is_none());
                    agenda.add(now + random.gap(self.mean_gap()), number, Event::Request);
                    node.lease.note(&terms, now, 1);
                    if terms.leases(1) && node.lease.permits(now) > 0 {
                        node.lease.spend(1);
                        tally.admitted.push(now);
                        if !node.buys
                            && let Some(order) = node.lease.order_ahead(&terms, now)
                        {
                            tally.questions += counts;
                            node.send(order, now, number, &mut agenda);
                        }
                    } else if node.lease.refuses(&terms, now, 1).is_some() {
                    } else if !terms.leases(1) {
                        tally.questions += counts;
                        agenda.add(now + HALF_WAY, number, Event::Alone);
                    } else {
                        node.waiting += 1;
                        if !node.buys {
                            tally.questions += counts;
                            let order = node.lease.order(&terms, now, 1);
                            node.send(order, now, number, &mut agenda);
                        }
                    }
                }
                Event::Alone => {
                    let (owed, granted) = central.charge(&gcra, now, Order::exactly(1));
                    node.lease
                        .owes(now - HALF_WAY, owed + gcra.price(granted.unwrap_or(0)));
                    tally.admitted.extend(granted.map(|_| now));
                }
                Event::Arrives { order, sent } => {
                    let (owed, granted) = central.charge(&gcra, now, read(order));
                    let granted = granted.unwrap_or(0);
                    let answer = Event::Returns {
                        order,
                        sent,
                        owed,
                        granted,
                    };
                    agenda.add(now + HALF_WAY, number, answer);
                }
                Event::Returns {
                    order,
                    sent,
                    owed,
                    granted,
                } => {
                    node.buys = false;
                    node.lease.owes(sent, owed + gcra.price(granted));
                    if granted > 0 {
                        node.lease.granted(&terms, sent, now, granted);
                    } else {
                        let spread = (random.next() >> 32) as u32;
                        node.lease.refused(&terms, now, read(order), spread);
                    }
                    while node.waiting > 0 && node.lease.permits(now) > 0 {
                        node.waiting -= 1;
                        node.lease.spend(1);
                        tally.admitted.push(now);
                    }
                    if granted < order[1] {
                        node.waiting = 0;
                    } else if node.waiting > 0 {
                        tally.questions += counts;
                        let order = node.lease.order(&terms, now, 1);
                        node.send(order, now, number, &mut agenda);
                    }
                }
            }
        }
        tally
    }

    /// Nodes that count for themselves within calendar seconds, and add their counts together every so often, as Kong
    /// (`sync_rate`) and limitador (`redis_cached`) do.
    fn synchronised(&self, every: u64) -> Tally {
        let mut random = Random(42);
        let mut agenda = Agenda::default();
        let mut tally = Tally::default();
        // For each node: its window, what it knew of all nodes when it last asked, what it has added since.
        let mut nodes = vec![(0_u64, 0_u64, 0_u64); self.nodes];
        let mut all = (0_u64, 0_u64);
        let mut next_sync: Vec<u64> = (0..self.nodes)
            .map(|_| START + random.next() % every)
            .collect();
        for number in 0..self.nodes {
            agenda.add(START + random.gap(self.mean_gap()), number, Event::Request);
        }
        while let Some(Reverse((now, number, _))) = agenda.0.pop() {
            if now > START + WARM_UP + RUN {
                break;
            }
            let counts = u64::from(now >= START + WARM_UP);
            tally.requests += counts;
            agenda.add(now + random.gap(self.mean_gap()), number, Event::Request);
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
                tally.questions += counts;
            }
            if *known + *added < u64::from(self.rate) {
                *added += 1;
                tally.admitted.push(now);
            }
        }
        tally
    }
}

fn read([need, want, least]: [u32; 3]) -> Order {
    Order { need, want, least }
}

// === impl Node ===

impl Node {
    fn send(&mut self, order: Order, sent: u64, number: usize, agenda: &mut Agenda) {
        self.buys = true;
        let order = [order.need, order.want, order.least];
        agenda.add(sent + HALF_WAY, number, Event::Arrives { order, sent });
    }
}

// === impl Tally ===

impl Tally {
    fn questions_per_request(&self) -> f64 {
        self.questions as f64 / self.requests as f64
    }

    /// What was admitted, by what one exact limiter would have.
    fn utilisation(&self) -> f64 {
        let counted = self
            .admitted
            .iter()
            .filter(|time| **time >= START + WARM_UP);
        counted.count() as f64 / self.exact as f64
    }

    /// The most that any window held beyond the rate.
    fn beyond(&self, rate: u32) -> f64 {
        let (mut level, mut worst, mut last) = (0.0_f64, 0.0_f64, START);
        for time in &self.admitted {
            level = (level - (time - last) as f64 * f64::from(rate) / SECOND as f64).max(0.0) + 1.0;
            worst = worst.max(level);
            last = *time;
        }
        worst
    }

    /// The most that any window of one second held.
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

// === impl Agenda ===

impl Agenda {
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

/// Rate, burst, nodes; and for each demand how many questions a request may cost and how much must be used, as an earlier
/// simulation of the same algorithm found.
type Row = (u32, u32, usize, [(f64, f64); 4]);

const TABLE: [Row; 11] = [
    (
        10_000,
        10_000,
        4,
        [(0.004, 1.0), (0.002, 1.0), (0.007, 0.994), (0.002, 0.996)],
    ),
    (
        10_000,
        10_000,
        16,
        [(0.017, 1.0), (0.011, 0.999), (0.015, 0.981), (0.004, 0.996)],
    ),
    (
        10_000,
        10_000,
        64,
        [(0.072, 1.0), (0.051, 0.992), (0.053, 0.972), (0.010, 0.995)],
    ),
    (
        1_000,
        1_000,
        4,
        [(0.045, 1.0), (0.023, 1.0), (0.071, 0.994), (0.016, 0.997)],
    ),
    (
        1_000,
        1_000,
        16,
        [(0.194, 1.0), (0.140, 0.979), (0.141, 0.979), (0.036, 0.996)],
    ),
    (
        1_000,
        1_000,
        64,
        [(0.650, 1.0), (0.597, 0.959), (0.494, 0.956), (0.095, 0.995)],
    ),
    (
        100,
        100,
        4,
        [(0.488, 1.0), (0.337, 1.0), (0.551, 0.993), (0.135, 0.999)],
    ),
    (
        100,
        100,
        16,
        [(0.880, 1.0), (0.732, 1.0), (0.752, 0.986), (0.259, 0.999)],
    ),
    (
        100,
        100,
        64,
        [(0.992, 1.0), (0.969, 1.0), (0.906, 0.974), (0.511, 0.997)],
    ),
    (
        10,
        20,
        1,
        [(0.708, 1.0), (0.507, 1.0), (0.628, 1.0), (0.197, 1.0)],
    ),
    (
        10,
        20,
        16,
        [(1.0, 1.0), (1.0, 1.0), (0.935, 1.0), (0.685, 1.0)],
    ),
];

fn main() -> ExitCode {
    let mut broken = Vec::new();
    println!(
        "questions a request / utilisation, at a demand of so many times the quota (leases of {PERCENT} %)"
    );
    println!(
        "{:>9} {:>6} {:>5}   {:<14}{:<14}{:<14}{:<14} worst window, of its bound",
        "rate", "burst", "nodes", 0.5, 1.0, 2.0, 10.0
    );
    for (rate, burst, nodes, expected) in TABLE {
        print!("{rate:>7}/s {burst:>6} {nodes:>5}   ");
        let terms = Terms::new(Gcra::new(&Quota::per_second(rate).burst(burst)), PERCENT);
        let bound = f64::from(burst) + terms.excess() as f64;
        let mut worst = 0.0_f64;
        for (demand, (questions, used)) in DEMANDS.into_iter().zip(expected) {
            let tally = Scene {
                rate,
                burst,
                nodes,
                demand,
            }
            .leased();
            let found = (tally.questions_per_request(), tally.utilisation());
            print!("{:<14}", format!("{:.3} / {:.3}", found.0, found.1));
            worst = worst.max(tally.beyond(rate) / bound);
            // Where demand equals the quota, chance decides when the bucket is first empty, and from then on purchases are
            // small. The earlier simulation ended sooner, it seems.
            let most = if demand == 1.0 { 2.0 } else { 1.2 };
            if found.0 > questions * most + 0.002 {
                broken.push(format!(
                    "{rate}/s, {nodes} nodes, demand {demand}: {:.3} questions, not {questions}",
                    found.0
                ));
            }
            if found.1 < used - 0.05 {
                broken.push(format!(
                    "{rate}/s, {nodes} nodes, demand {demand}: {:.3} used, not {used}",
                    found.1
                ));
            }
        }
        println!(" {worst:.2}");
        if worst > 1.0 {
            broken.push(format!(
                "{rate}/s, {nodes} nodes: beyond the bound, {worst:.3} of it"
            ));
        }
    }
    let chart = Chart::measure(&mut broken);
    chart.print();
    if let Some(file) = std::env::args()
        .skip(1)
        .find(|argument| argument.ends_with(".svg"))
    {
        std::fs::write(file, chart.draw()).expect("the file");
    }
    for line in &broken {
        eprintln!("BROKEN: {line}");
    }
    ExitCode::from(u8::from(!broken.is_empty()))
}

/// A quota of 1,000 a second with a burst of 250, asked for ten times as much.
struct Chart {
    /// Nodes; the fullest second by the quota: leased, synchronised every 100 ms and every second; questions a request.
    points: Vec<(usize, [f64; 3], [f64; 3])>,
}

impl Chart {
    const NODES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
    const NAMES: [&str; 3] = ["leased", "counters, every 100 ms", "counters, every second"];

    fn measure(broken: &mut Vec<String>) -> Self {
        let measure = |nodes| {
            let scene = Scene {
                rate: 1_000,
                burst: 250,
                nodes,
                demand: 10.0,
            };
            let every = [SECOND / 10, SECOND].map(|every| scene.synchronised(every));
            let leased = scene.leased();
            let tallies = [&leased, &every[0], &every[1]];
            let full = tallies.map(|tally| tally.fullest_second() as f64 / f64::from(scene.rate));
            if full[0] > 1.3125 {
                broken.push(format!(
                    "{nodes} nodes: {:.3} times the quota in a second",
                    full[0]
                ));
            }
            (nodes, full, tallies.map(Tally::questions_per_request))
        };
        Self {
            points: Self::NODES.map(measure).into(),
        }
    }

    fn print(&self) {
        println!(
            "\nfullest second, by a quota of 1,000/s (burst 250) at ten times the demand, and questions a request"
        );
        println!(
            "{:>5}  {:<24}{:<24}{:<24}",
            "nodes",
            Self::NAMES[0],
            Self::NAMES[1],
            Self::NAMES[2]
        );
        for (nodes, full, questions) in &self.points {
            let cell = |i: usize| format!("{:.2} ({:.4})", full[i], questions[i]);
            println!("{nodes:>5}  {:<24}{:<24}{:<24}", cell(0), cell(1), cell(2));
        }
    }

    fn draw(&self) -> String {
        const COLOURS: [&str; 3] = ["#0a7d4f", "#d98200", "#c0392b"];
        let x = |i: usize| 70.0 + 90.0 * i as f64;
        let y = |times: f64| 330.0 - 30.0 * times;
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 700 400\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"700\" height=\"400\" fill=\"white\"/>\n\
             <text x=\"70\" y=\"24\" font-size=\"15\">Most admitted in any second, by the quota, at ten times the demand</text>\n",
        );
        for times in 0..=9 {
            let (at, text) = (y(f64::from(times)), y(f64::from(times)) + 4.0);
            let _ = writeln!(
                svg,
                "<path d=\"M70 {at}H610\" stroke=\"#ddd\"/><text x=\"38\" y=\"{text}\">{times}x</text>"
            );
        }
        for (i, (nodes, ..)) in self.points.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"352\" text-anchor=\"middle\">{nodes}</text>",
                x(i)
            );
        }
        svg.push_str("<text x=\"340\" y=\"376\" text-anchor=\"middle\">nodes</text>\n");
        for (series, colour) in COLOURS.iter().enumerate() {
            let points: Vec<String> = self
                .points
                .iter()
                .enumerate()
                .map(|(i, (_, full, _))| format!("{:.1},{:.1}", x(i), y(full[series])))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
                points.join(" ")
            );
            let at = 60 + 20 * series;
            let _ = writeln!(
                svg,
                "<text x=\"90\" y=\"{at}\" fill=\"{colour}\">{}</text>",
                Self::NAMES[series]
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
