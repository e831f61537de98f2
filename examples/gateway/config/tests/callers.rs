//! Token sources, identity headers, consumers.

use super::{accepts, refuses};

#[test]
fn identity_header_names_are_validated() {
    #[track_caller]
    fn check(line: &str, problem: &str) {
        let text = format!("[identity_headers]\n{line}\n");
        refuses(&text, &format!("gateway.toml:2: {problem}"));
    }
    check(
        "Authorization = \"sub\"",
        "`identity_headers.Authorization`: messages, connections or other services depend on it: choose another name",
    );
    check(
        "cookie = \"sub\"",
        "`identity_headers.cookie`: messages, connections or other services depend on it: choose another name",
    );
    check(
        "Sec-WebSocket-Protocol = \"sub\"",
        "`identity_headers.Sec-WebSocket-Protocol`: this header is a token source: choose another name",
    );
    for name in [
        "X-Forwarded-User",
        "x-forwarded-email",
        "remote-user",
        "x_remote_user",
        "x-client-dn",
        "x-original-subject",
        "x-ssl-client-s-dn",
        "proxy",
    ] {
        check(
            &format!("{name} = \"sub\""),
            &format!(
                "`identity_headers.{name}`: this header is never sent to upstreams: choose another name"
            ),
        );
    }
    check(
        "\"x user\" = \"sub\"",
        "`identity_headers.x user`: use the name of a header, such as x-tenant",
    );
    check(
        "x-a = 1",
        "`identity_headers.x-a`: expected a claim's name, or the list of names that lead to it",
    );
    check("x-a = []", "`identity_headers.x-a`: expected at least one");
    refuses(
        "[identity_headers]\nx-a = \"sub\"\nx_a = \"iss\"\nX-A = \"iss\"\n",
        "gateway.toml:3: `identity_headers.x_a`: it is another spelling of a header that is already set: choose one\n\
         gateway.toml:4: `identity_headers.X-A` is given twice in different spellings: keep one",
    );
    let configuration = accepts("[identity_headers]\nx-b = \"consumer\"\nx-a = [\"a\", \"b\"]\n");
    let names = configuration
        .identity_headers
        .iter()
        .map(|header| header.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["x-b", "x-a"]);
}

#[test]
fn token_sources() {
    refuses(
        "[token_sources]\ncookie = \"a b\"\n",
        "gateway.toml:2: `token_sources.cookie`: \"a b\" is not a cookie name",
    );
    refuses(
        "[token_sources]\nwebsocket_protocol = 1\n",
        "gateway.toml:2: `token_sources.websocket_protocol`: expected true or false",
    );
    let sources = accepts("[token_sources]\nwebsocket_protocol = true\n").token_sources;
    assert!(sources.websocket_protocol);
}

#[test]
fn consumers_must_be_distinct() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        refuses(
            &format!("[[consumers]]\nname = \"a\"\nclient = \"c\"\n{text}"),
            expected,
        );
    }
    check(
        "[[consumers]]\nname = \"a\"\nsubject = \"c\"\n",
        "gateway.toml:4: consumer \"a\" is already defined at gateway.toml:1",
    );
    check(
        "[[consumers]]\nname = \"b\"\nclient = \"c\"\n",
        "gateway.toml:4: these callers already belong to consumer \"a\" at gateway.toml:1",
    );
    check(
        "subject = \"s\"\n",
        "gateway.toml:1: `consumers[0].subject` and `client` are both given: keep one",
    );
    check(
        "plan = \"pro\"\n",
        "gateway.toml:4: `consumers[0].plan` names \"pro\", which is not in [plans]",
    );
    check(
        "[[consumers]]\nname = \"b,c\"\nsubject = \"s\"\n",
        "gateway.toml:5: `consumers[1].name`: use visible ASCII characters without commas and blanks, because the name may be sent in a header",
    );
    check(
        "[[consumers]]\nname = \"b\"\n",
        "gateway.toml:4: `consumers[1].client` or `subject` is required",
    );
}
