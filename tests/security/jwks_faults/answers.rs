//! Faults of a single response: in how it is sent, and in what it contains.

use super::faults::{Event, Fault, healthy, of};
use super::replies::{self as reply, both, ok, ok_with, raw, redirect, status};
use super::site::Step;

pub(super) fn broken_transport() -> Vec<(&'static str, Fault)> {
    vec![
        ("connection-refused", of(healthy).event(Event::Refusal)),
        ("closed-without-answer", of(|_, _| vec![])),
        ("reset-before-headers", of(|_, _| vec![Step::Reset])),
        (
            "reset-mid-body",
            of(|keys, _| {
                let mut steps = ok(both(keys));
                steps[1] = Step::Send(both(keys).as_bytes()[..80].to_vec());
                steps.push(Step::Reset);
                steps
            }),
        ),
        (
            "hang-before-headers",
            of(|_, _| vec![Step::Hang]).impatient(),
        ),
        (
            "hang-mid-body",
            of(|keys, _| {
                let mut steps = ok(both(keys));
                steps[1] = Step::Send(both(keys).as_bytes()[..80].to_vec());
                steps.push(Step::Hang);
                steps
            })
            .impatient(),
        ),
        (
            "slow-headers",
            of(|keys, _| {
                let answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", both(keys));
                vec![Step::Trickle(answer.into_bytes())]
            })
            .impatient(),
        ),
        (
            "slow-body",
            of(|keys, _| vec![reply::head(""), Step::Trickle(both(keys).into_bytes())]).impatient(),
        ),
        (
            "endless-interim",
            of(|_, _| vec![Step::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())]).impatient(),
        ),
        (
            "endless-headers",
            of(|_, _| {
                vec![
                    Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec()),
                    Step::Repeat(b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".to_vec()),
                ]
            }),
        ),
        (
            "endless-body",
            of(|_, _| vec![reply::head(""), Step::Repeat(vec![b' '; 8192])]).error("too_large"),
        ),
        (
            "huge-content-length",
            of(|_, _| vec![reply::head("content-length: 8589934592\r\n"), Step::Hang])
                .error("too_large"),
        ),
        (
            "content-length-too-long",
            of(|keys, _| {
                vec![
                    reply::head("content-length: 9999\r\n"),
                    Step::Send(both(keys).into()),
                ]
            }),
        ),
        (
            "content-length-too-short",
            of(|keys, _| {
                vec![
                    reply::head("content-length: 99\r\n"),
                    Step::Send(both(keys).into()),
                ]
            }),
        ),
        (
            "bad-chunks",
            of(|_, _| {
                vec![
                    reply::head("transfer-encoding: chunked\r\n"),
                    Step::Send("xyz\r\n".into()),
                ]
            }),
        ),
        ("not-http", of(|_, _| raw("SSH-2.0-OpenSSH_9.9\r\n"))),
    ]
}

pub(super) fn wrong_answers() -> Vec<(&'static str, Fault)> {
    vec![
        ("status-500", of(|_, _| status("500 Internal Server Error"))),
        ("status-404", of(|_, _| status("404 Not Found"))),
        (
            "status-429",
            of(|_, _| {
                raw(
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 86400\r\ncontent-length: 0\r\n\r\n",
                )
            }),
        ),
        (
            "status-204",
            of(|_, _| raw("HTTP/1.1 204 No Content\r\n\r\n")),
        ),
        (
            "redirect-elsewhere",
            of(|keys, _| redirect(&keys.elsewhere)).error("status"),
        ),
        (
            "redirect-loop",
            of(|_, request| redirect(&request.path)).error("status"),
        ),
        ("empty-body", of(|_, _| ok(""))),
        (
            "truncated-json",
            of(|keys, _| ok(&both(keys)[..both(keys).len() - 2])),
        ),
        (
            "trailing-text",
            of(|keys, _| ok(format!("{}<!-- 0.3 s -->", both(keys)))),
        ),
        (
            "html",
            of(|_, _| {
                ok_with(
                    "content-type: text/html\r\n",
                    "<!doctype html><title>Sign in</title>",
                )
            }),
        ),
        (
            "compressed-body",
            of(|keys, _| ok_with("content-encoding: gzip\r\n", reply::gzip(&both(keys)))),
        ),
        (
            "not-utf-8",
            of(|keys, _| {
                let mut body = both(keys).into_bytes();
                body[2] = 0xff;
                ok(body)
            }),
        ),
    ]
}
