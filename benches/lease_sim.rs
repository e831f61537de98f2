//! How often nodes that lease ask the store, how much of a quota they get to use, and how far beyond it they go, for 1 to 64
//! nodes: the library's own leases, in simulated time, beside nodes that count for themselves and synchronise counters.
//!
//! ```sh
//! cargo bench --bench lease_sim                          # prints the table, fails where it is broken
//! cargo bench --bench lease_sim -- docs/rate-limits.svg  # and draws the chart of docs/rate-limits.md
//! ```
//!
//! Requests come at random (Poisson), every node gets as many; a question takes 0.5 ms there and back. Every figure is the
//! mean of several runs of 10 s that begin with a full bucket, and the bound is held in each of them. All chance comes from
//! fixed seeds, so the bench prints the same every time.

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
    /// Requests, by what the quota admits.
    demand: f64,
    run: u64,
}

/// What decides.
#[derive(Clone, Copy)]
enum Limiter {
    Leased,
    /// Counters that are synchronised every so often.
    Synchronised(u64),
}

/// What was found in several runs.
#[derive(Clone, Copy)]
struct Found {
    /// To the store, by request.
    questions: f64,
    /// Of what one exact limiter admits.
    used: f64,
    /// The most that any window held beyond the rate.
    beyond: f64,
    /// The most that any second held, by the rate.
    fullest: f64,
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

    fn find(&self, limiter: Limiter) -> Found {
        let runs: Vec<Tally> = (1..=SEEDS)
            .map(|seed| match limiter {
                Limiter::Leased => self.leased(seed),
                Limiter::Synchronised(every) => self.synchronised(seed, every),
            })
            .collect();
        let mean = |of: fn(&Tally) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let most = |of: &dyn Fn(&Tally) -> f64| runs.iter().map(of).fold(0.0, f64::max);
        Found {
            questions: mean(Tally::questions_per_request),
            used: mean(Tally::utilisation),
            beyond: most(&|run| run.beyond(self.rate)),
            fullest: most(&|run| run.fullest_second() as f64 / f64::from(self.rate)),
        }
    }

    fn leased(&self, seed: u64) -> Tally {
        let gcra = Gcra::new(&self.quota());
        let terms = Terms::new(gcra, PERCENT);
        let (mut random, mut agenda) = (Random(seed), Agenda::default());
        let (mut central, mut exact) = (Central::default(), 0);
        let mut nodes: Vec<Node> = (0..self.nodes).map(|_| Node::default()).collect();
        let mut tally = Tally::default();
        for number in 0..self.nodes {
            agenda.add(START + random.gap(self.mean_gap()), number, Event::Request);
        }
        while let Some(Reverse((now, number, event))) = agenda.0.pop() {
            if now > START + WARM_UP + self.run {
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
    fn synchronised(&self, seed: u64, every: u64) -> Tally {
        let gcra = Gcra::new(&self.quota());
        let mut exact = 0;
        let mut random = Random(seed);
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
            if now > START + WARM_UP + self.run {
                break;
            }
            let counts = u64::from(now >= START + WARM_UP);
            tally.requests += counts;
            let step = gcra.decide(exact, now, NonZeroU32::MIN);
            exact = step.arrival;
            tally.exact += counts * u64::from(step.verdict.retry_after.is_none());
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

/// More questions than were expected, and half of the last digit.
const MOST_QUESTIONS: f64 = 1.2;
const ROUNDED: f64 = 0.0005;
const LEAST_USED: f64 = 0.95;

fn main() -> ExitCode {
    let mut broken = Vec::new();
    println!(
        "questions a request / used, at a demand of so many times the quota (leases of {PERCENT} %; * for {} s)",
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
    let mut arguments = std::env::args().skip(1);
    if let Some(file) = arguments.find(|argument| argument.ends_with(".svg")) {
        std::fs::write(file, chart.draw()).expect("the file");
    }
    for line in &broken {
        eprintln!("BROKEN: {line}");
    }
    ExitCode::from(u8::from(!broken.is_empty()))
}

fn print_row((rate, burst, nodes, expected): Row) -> Vec<String> {
    let scene = |demand, run| Scene {
        rate,
        burst,
        nodes,
        demand,
        run,
    };
    let terms = Terms::new(Gcra::new(&scene(1.0, RUN).quota()), PERCENT);
    let bound = f64::from(burst) + terms.excess() as f64;
    let (mut broken, mut worst) = (Vec::new(), 0.0_f64);
    let mut hold = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("{rate}/s, {nodes} nodes, {what}"));
        }
    };
    print!("{rate:>7}/s {burst:>6} {nodes:>5}   ");
    for (demand, (questions, used)) in DEMANDS.into_iter().zip(expected) {
        let found = scene(demand, RUN).find(Limiter::Leased);
        print!(
            "{:<14}",
            format!("{:.3} / {:.3}", found.questions, found.used)
        );
        worst = worst.max(found.beyond / bound);
        let most = (questions + ROUNDED) * MOST_QUESTIONS;
        hold(
            found.questions <= most,
            format!(
                "demand {demand}: {:.3} questions, not {questions}",
                found.questions
            ),
        );
        hold(
            found.used >= used * LEAST_USED,
            format!("demand {demand}: {:.3} used, not {used}", found.used),
        );
    }
    // Where demand equals the quota, chance decides when the bucket is first empty, and from then on purchases are small: in
    // the long run more is asked, and less used. Printed, and held to nothing but the bound.
    let long = scene(1.0, LONG_RUN).find(Limiter::Leased);
    print!(
        "{:<14}",
        format!("{:.3} / {:.3}", long.questions, long.used)
    );
    worst = worst.max(long.beyond / bound);
    println!(" {worst:.2}");
    hold(worst <= 1.0, format!("beyond the bound, {worst:.3} of it"));
    broken
}

/// A quota of 1,000 a second with a burst of 250, leased and by counters, for 1 to 64 nodes.
struct Chart(Vec<Point>);

/// For each of the limiters.
struct Point {
    nodes: usize,
    /// At twice the demand.
    busy: [Found; 3],
    /// At ten times the demand.
    attacked: [Found; 3],
}

/// One of the chart's three pictures.
struct Panel {
    title: &'static str,
    /// Between two lines of the grid.
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
        Limiter::Synchronised(SECOND / 10),
    ),
    (
        "counters, every second",
        "#c0392b",
        Limiter::Synchronised(SECOND),
    ),
];

const PANELS: [Panel; 3] = [
    Panel {
        title: "most in any second, by the rate (demand x 10)",
        step: 1.0,
        lines: 9,
        read: |point, limiter| point.attacked[limiter].fullest,
    },
    Panel {
        title: "used, of the quota (demand x 2)",
        step: 0.25,
        lines: 9,
        read: |point, limiter| point.busy[limiter].used,
    },
    Panel {
        title: "questions a request (demand x 2)",
        step: 0.1,
        lines: 9,
        read: |point, limiter| point.busy[limiter].questions,
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

    /// A burst of a quarter, leases of a quarter of that.
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
        for (i, (name, colour, _)) in LIMITERS.iter().enumerate() {
            let x = 220 + 240 * i;
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"370\" fill=\"{colour}\">\u{25cf} {name}</text>"
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
        for (limiter, (_, colour, _)) in LIMITERS.iter().enumerate() {
            let points = self.0.iter().enumerate();
            let points = points
                .map(|(i, point)| format!("{:.1},{:.1}", x(i), y((panel.read)(point, limiter))));
            let points: Vec<String> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\"/>",
                points.join(" ")
            );
        }
    }
}
