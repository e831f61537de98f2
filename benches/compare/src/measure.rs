//! Cases that are measured alternately, so that other load affects all of them equally.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use rustix::time::{ClockId, clock_gettime};
use tower::Service;

use crate::fixture::Requests;

/// A case to measure: does its work the given number of times.
pub struct Case<'c> {
    name: String,
    /// The case to subtract, which does the same without the part of interest.
    floor: Option<String>,
    work: Box<dyn FnMut(u64) + 'c>,
    /// Called after each round, not measured.
    rest: Box<dyn FnMut() + 'c>,
}

/// The cost of one unit of work, minus its floor.
pub struct Row {
    /// `implementation/case/algorithm`
    pub name: String,
    /// The median processor time over all rounds.
    pub nanos: f64,
    pub allocations: f64,
    pub bytes: f64,
}

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub sample: Duration,
}

// === impl Case ===

impl<'c> Case<'c> {
    pub fn new(name: impl Into<String>, mut work: impl FnMut() + 'c) -> Self {
        Self {
            name: name.into(),
            floor: None,
            work: Box::new(move |times| (0..times).for_each(|_| work())),
            rest: Box::new(|| ()),
        }
    }

    /// Sends requests through `service`; each must succeed.
    pub fn calling<S, B, R>(
        name: impl Into<String>,
        mut requests: Requests,
        body: fn() -> B,
        mut service: S,
    ) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + 'c,
        B: 'c,
    {
        Self::new(name, move || call(&mut service, requests.next(body)))
    }

    /// Subtracts the cost of this case.
    pub fn beyond(mut self, floor: &str) -> Self {
        self.floor = Some(floor.to_owned());
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn resting(mut self, rest: impl FnMut() + 'c) -> Self {
        self.rest = Box::new(rest);
        self
    }
}

/// Calls a service that is always ready.
pub fn call<S, B, R>(service: &mut S, request: Request<B>)
where
    S: Service<Request<B>, Response = Response<R>>,
{
    let is_ready = now(poll_fn(|cx| service.poll_ready(cx))).is_ok();
    let response = now(service.call(black_box(request))).ok();
    let response = response.filter(|response| is_ready && response.status().is_success());
    black_box(response.expect("the service accepts the request"));
}

fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        // Some tasks yield for fairness although they are ready.
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// The processor time of this thread, without other processes.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures all cases alternately.
pub fn measure(mut cases: Vec<Case<'_>>, effort: Effort) -> Vec<Row> {
    let times: Vec<u64> = cases
        .iter_mut()
        .map(|case| calibrate(case, effort))
        .collect();
    let mut rounds = Vec::with_capacity(effort.rounds);
    for _ in 0..effort.rounds {
        let mut round = Vec::with_capacity(cases.len());
        for (case, times) in cases.iter_mut().zip(&times) {
            let before = thread_time();
            (case.work)(*times);
            let took = thread_time() - before;
            round.push(took.as_nanos() as f64 / *times as f64);
            (case.rest)();
        }
        rounds.push(round);
    }
    let memory: Vec<(f64, f64)> = cases.iter_mut().map(allocations).collect();
    let floors: Vec<Option<usize>> = cases.iter().map(|case| floor_of(case, &cases)).collect();
    let row = |(at, case): (usize, &Case<'_>)| {
        let floor = floors[at];
        let beyond = |values: &[f64]| values[at] - floor.map_or(0.0, |floor| values[floor]);
        let nanos = rounds.iter().map(|round| beyond(round)).collect();
        let (allocations, bytes): (Vec<f64>, Vec<f64>) = memory.iter().copied().unzip();
        Row {
            name: case.name.clone(),
            nanos: median(nanos),
            allocations: beyond(&allocations),
            bytes: beyond(&bytes),
        }
    };
    cases.iter().enumerate().map(row).collect()
}

fn floor_of(case: &Case<'_>, cases: &[Case<'_>]) -> Option<usize> {
    let floor = case.floor.as_ref()?;
    let at = cases.iter().position(|other| other.name == *floor);
    Some(at.expect("the floor of a case is a case"))
}

/// The number of repetitions in one sample.
fn calibrate(case: &mut Case<'_>, effort: Effort) -> u64 {
    let mut times = 1;
    loop {
        let before = thread_time();
        (case.work)(times);
        let took = thread_time() - before;
        if took * 4 > effort.sample {
            let share = effort.sample.as_secs_f64() / took.as_secs_f64();
            return ((times as f64 * share) as u64).max(1);
        }
        times *= 2;
    }
}

/// Allocations and allocated bytes per unit of work, without those of C code.
fn allocations(case: &mut Case<'_>) -> (f64, f64) {
    const TIMES: u64 = 1_000;
    let session = alloc_tracker::Session::new().no_stdout().no_file();
    let operation = session.operation("work");
    {
        let _span = operation.measure_thread().iterations(TIMES);
        (case.work)(TIMES);
    }
    let report = session.to_report();
    let (_, measured) = report
        .operations()
        .next()
        .expect("one operation was measured");
    let each = |total: u64| total as f64 / TIMES as f64;
    (
        each(measured.total_allocations_count()),
        each(measured.total_bytes_allocated()),
    )
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
