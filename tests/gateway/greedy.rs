//! Clients that exhaust resources do not affect others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

/// Sends a request and reads only the first byte of the response.
async fn unread(gateway: &Gateway, head: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(gateway.address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'H');
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_responses_leave_shared_connection_usable() {
    let (issuer, upstream) = (issuer().await, Upstream::start("large").await);
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        section(&issuer),
        upstream.url()
    ))
    .await;
    // This content type selects HTTP/2.
    let grpc = "application/grpc";
    let head = format!(
        "POST / HTTP/1.1\r\nhost: here\r\ncontent-type: {grpc}\r\nx-do: send 16\r\ncontent-length: 0\r\n\r\n"
    );
    let mut greedy = Vec::new();
    for _ in 0..50 {
        greedy.push(unread(&gateway, &head).await);
    }
    let request = client().post(gateway.url("/")).header("x-do", "send 16");
    let request = request.header("content-type", grpc);
    let honest = async { request.send().await.unwrap().bytes().await.unwrap() };
    let read = timeout(Duration::from_secs(60), honest).await;
    assert_eq!(read.expect("a share of it").len(), 16 * 1024 * 1024);
    assert_eq!(upstream.hits(), 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_descriptors_are_reserved() {
    let (issuer, upstream) = (issuer().await, Upstream::start("any").await);
    let configuration = format!(
        "log = \"warn,gateway=info\"\n{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Gateway::start_limited(&configuration, 256).await;
    let mut greedy = Vec::new();
    for _ in 0..300 {
        let mut connection = TcpStream::connect(gateway.address).await.unwrap();
        connection
            .write_all(b"GET / HTTP/1.1\r\nx: ")
            .await
            .unwrap();
        greedy.push(connection);
    }
    gateway
        .wait_for_line(|line| line.contains("ulimit -n"))
        .await;
    for _ in 0..3 {
        let health = client().get(gateway.admin("/healthz")).send().await;
        assert_eq!(health.unwrap().status(), 200);
    }
    // A client in the accept queue is served once a connection is free.
    let waiting = tokio::spawn(client().get(gateway.url("/")).send());
    drop(greedy);
    let answer = timeout(Duration::from_secs(20), waiting).await.unwrap();
    assert_eq!(answer.unwrap().unwrap().status(), 200);
    let lines = gateway.lines();
    let failed = lines.iter().filter(|line| line.contains("be accepted"));
    assert_eq!(failed.count(), 0, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room() {
    let (issuer, upstream) = (issuer().await, Upstream::start("any").await);
    let configuration = format!(
        "log = \"warn,gateway=info\"\n{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Gateway::start_limited(&configuration, 256).await;
    let mut kept = Vec::new();
    let ask = async {
        for _ in 0..200 {
            kept.push(unread(&gateway, "GET / HTTP/1.1\r\nhost: here\r\n\r\n").await);
        }
    };
    timeout(Duration::from_secs(30), ask).await.unwrap();
    assert_eq!(upstream.hits(), 200);
}

/// One connection with as many streams as possible, the largest windows, and no reads.
#[tokio::test(flavor = "multi_thread")]
async fn unread_http2_response_uses_bounded_memory() {
    const STREAMS: u32 = 200;
    /// The buffers of two connections for body and head.
    const EACH: u64 = 6 * 32 * 1024;
    let (issuer, upstream) = (issuer().await, Upstream::start("large").await);
    let gateway = Gateway::start(&format!(
        "log = \"warn,gateway=info\"\n{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        section(&issuer),
        upstream.url()
    ))
    .await;
    let before = gateway.memory();
    let largest = 0x7fff_ffff_u32;
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE and the connection window.
    frames.extend(frame(
        4,
        0,
        0,
        &[&[0, 4][..], &largest.to_be_bytes()].concat(),
    ));
    frames.extend(frame(8, 0, 0, &(largest - 65_535).to_be_bytes()));
    // GET, http, / and `:authority` by their index in HPACK's static table; the rest is literal.
    let head = b"\x82\x86\x84\x01\x04here\x00\x04x-do\x06send 4";
    for stream in 0..STREAMS {
        frames.extend(frame(1, 0x5, stream * 2 + 1, head));
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(gateway.address).await.unwrap();
    connection.write_all(&frames).await.unwrap();
    while upstream.hits() < STREAMS as usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut peak = 0;
    for _ in 0..100 {
        peak = peak.max(gateway.memory());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let each = peak.saturating_sub(before) / u64::from(STREAMS);
    println!("{STREAMS} unread streams: {each} bytes each");
    assert!(each < EACH, "{each} bytes each");
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}
