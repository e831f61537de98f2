//! An issuer on a raw socket, which can violate HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// The part of a request that responses depend on.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) if_none_match: Option<String>,
}

/// What the issuer does on a connection after the request, in order, before it closes it.
pub(super) enum Step {
    Send(Vec<u8>),
    /// One byte per 20 ms.
    Trickle(Vec<u8>),
    /// Repeated without end.
    Repeat(Vec<u8>),
    /// Nothing, until the client closes the connection.
    Hang,
    /// Ends with a reset.
    Reset,
}

type Page = Arc<dyn Fn(&Request) -> Vec<Step> + Send + Sync>;

pub(super) struct Site {
    address: SocketAddr,
    /// Bound and never listening, so that the port stays reserved while the site is down.
    _reserved: TcpSocket,
    listening: Option<JoinHandle<()>>,
    state: Arc<State>,
}

struct State {
    page: Mutex<Page>,
    requests: AtomicUsize,
}

impl Site {
    pub(super) fn start() -> Self {
        let reserved = bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut site = Self {
            address: reserved.local_addr().unwrap(),
            _reserved: reserved,
            listening: None,
            state: Arc::new(State {
                page: Mutex::new(Arc::new(|_| vec![Step::Hang])),
                requests: AtomicUsize::new(0),
            }),
        };
        site.listen();
        site
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Responds with this page from now on.
    pub(super) fn answer(&self, page: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) {
        *self.state.page.lock().unwrap() = Arc::new(page);
    }

    /// The number of requests so far.
    pub(super) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub(super) fn listen(&mut self) {
        let listener = bound(self.address).unwrap().listen(64).unwrap();
        let state = Arc::clone(&self.state);
        self.listening = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                // The client may close the connection at any time.
                tokio::spawn(async move { serve(stream, &state).await });
            }
        }));
    }

    /// Refuses connections from now on.
    pub(super) async fn refuse(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            assert!(listening.await.unwrap_err().is_cancelled());
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let request = read(&mut stream).await?;
    state.requests.fetch_add(1, Ordering::SeqCst);
    let page = state.page.lock().unwrap().clone();
    for step in page(&request) {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Trickle(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Step::Repeat(bytes) => loop {
                stream.write_all(&bytes).await?;
            },
            Step::Hang => while stream.read(&mut [0; 64]).await? > 0 {},
            Step::Reset => return stream.set_zero_linger(),
        }
    }
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("if-none-match: "));
    Ok(Request {
        path,
        if_none_match: tag.map(str::to_owned),
    })
}
