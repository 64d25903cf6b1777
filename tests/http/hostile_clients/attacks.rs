//! The clients of the table, each as a crowd of connections that is there until it is dropped.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::harness::{Address, H2, Stream, Wire, send_all};

pub struct Attack {
    pub what: &'static str,
    pub protocol: &'static str,
    /// Keys of the component.
    pub keys: &'static str,
    /// Returns when all of it is under way; the component has so many places.
    pub begin: fn(&Address, usize) -> Crowd,
    /// The reason of the fault. Those who give requests up are found out where the component has places for many.
    pub blamed: Option<&'static str>,
}

/// Connections that are closed when it is dropped.
pub struct Crowd(#[expect(dead_code, reason = "it is kept for its end")] Box<dyn Any>);

const WINDOW: &str = "limits = { rate-window = \"2s\", header-timeout = \"2s\", idle-timeout = \"3s\" }";
/// Requests that find no place.
const MORE: usize = 8;

pub const ATTACKS: &[Attack] = &[
    Attack {
        what: "takes nothing of 128 answers: a window of 0",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, zero_window),
        blamed: Some("slow-reader"),
    },
    Attack {
        what: "takes nothing of more answers of 5 MB than there are places",
        protocol: "HTTP/1.1",
        keys: WINDOW,
        begin: unread_wires,
        blamed: Some("slow-reader"),
    },
    Attack {
        what: "takes nothing of 10 × 200 answers of 400 KB",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, unread),
        blamed: Some("slow-reader"),
    },
    Attack {
        what: "sends no byte of more bodies than there are places",
        protocol: "HTTP/1.1",
        keys: WINDOW,
        begin: |address, places| wires(address, places + MORE, |wire| begin_post(wire, "")),
        blamed: Some("slow-request"),
    },
    Attack {
        what: "says that it speaks gRPC, and sends no byte of more bodies than there are places",
        protocol: "HTTP/1.1",
        keys: WINDOW,
        begin: |address, places| {
            wires(address, places + MORE, |wire| {
                let head =
                    wire.head_of("POST", "/echo", "content-type: application/grpc\r\ncontent-length: 9\r\n");
                wire.send(head);
            })
        },
        blamed: Some("slow-request"),
    },
    Attack {
        what: "neither sends 128 bodies nor takes what comes back",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, silent),
        blamed: Some("slow-request"),
    },
    Attack {
        what: "sends a byte of each of 128 bodies now and then",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, drip),
        blamed: Some("slow-request"),
    },
    Attack {
        what: "resets connection after connection with a request that takes long",
        protocol: "HTTP/1.1",
        keys: WINDOW,
        begin: left_behind,
        blamed: None,
    },
    Attack {
        what: "sends 12 bodies of 50 MB that nobody reads for a while",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, fast),
        blamed: None,
    },
    Attack {
        what: "sends half a head, 300 times",
        protocol: "HTTP/1.1",
        keys: WINDOW,
        begin: |address, _| wires(address, 300, |wire| wire.send("GET / HTTP/1.1\r\nhost: a")),
        blamed: Some("slow-head"),
    },
    Attack {
        what: "sends a head byte by byte",
        protocol: "HTTP/2",
        keys: "limits = { header-timeout = \"2s\" }",
        begin: |address, _| http2(address, slow_head),
        blamed: Some("slow-head"),
    },
    Attack {
        what: "sends pings and no request",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, pings),
        blamed: None,
    },
    Attack {
        what: "gives up 400 requests that take long, each after 5 ms",
        protocol: "HTTP/2",
        keys: WINDOW,
        begin: |address, _| http2(address, resets),
        blamed: Some("resets"),
    },
];

/// So many connections over HTTP/1.1, each after `begin`.
fn wires(address: &Address, count: usize, begin: fn(&mut Wire)) -> Crowd {
    let mut wires: Vec<Wire> = (0..count).map(|_| Wire::connect(address)).collect();
    wires.iter_mut().for_each(begin);
    Crowd(Box::new(wires))
}

/// Twice as many requests as there are places, from a client of another address; each connection is reset when its request was read.
fn left_behind(address: &Address, places: usize) -> Crowd {
    for _ in 0..2 * places {
        let mut wire = wire_with(address, |socket| {
            socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        });
        wire.begin_get("/sleep?ms=3000");
    }
    Crowd(Box::new(()))
}

/// With small buffers, so that the system takes little of an answer in the client's place.
fn unread_wires(address: &Address, places: usize) -> Crowd {
    let wires = (0..places + MORE).map(|_| {
        let mut wire = wire_with(address, |socket| socket.set_recv_buffer_size(16 << 10).unwrap());
        wire.send_get("/big?bytes=5000000");
        wire
    });
    Crowd(Box::new(wires.collect::<Vec<_>>()))
}

fn wire_with(address: &Address, set: impl FnOnce(&Socket)) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    set(&socket);
    socket.connect(&address.socket().into()).unwrap();
    Wire::over(Stream::Tcp(socket.into()), address)
}

fn begin_post(wire: &mut Wire, body: &str) {
    let head = wire.head_of("POST", "/echo", "content-length: 1000000\r\n");
    wire.send(head + body);
}

type Part = Pin<Box<dyn Future<Output = Box<dyn Any>>>>;

/// What `begin` returns lives on a thread of its own until the crowd is dropped.
fn http2(address: &Address, begin: fn(Address) -> Part) -> Crowd {
    let (begun, is_begun) = mpsc::channel();
    let (keep, dropped) = oneshot::channel::<()>();
    let address = address.clone();
    std::thread::spawn(move || {
        crate::harness::block_on(async move {
            let crowd = begin(address).await;
            begun.send(()).unwrap();
            let _dropped = dropped.await;
            drop(crowd);
        });
    });
    is_begun.recv_timeout(Duration::from_secs(30)).expect("the crowd is under way");
    Crowd(Box::new(keep))
}

/// A client with these windows.
async fn client(address: &Address, stream: u32, connection: u32) -> h2::client::SendRequest<Bytes> {
    let socket = TcpStream::connect(address.socket()).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(stream)
        .initial_connection_window_size(connection)
        .initial_max_send_streams(256);
    let (send, connection) = builder.handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

fn request(address: &Address, method: &str, path: &str) -> http::Request<()> {
    let uri = format!("http://{}{path}", address.authority());
    http::Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// Requests whose answers' heads have come.
async fn open(
    client: &h2::client::SendRequest<Bytes>,
    address: &Address,
    path: &str,
    count: usize,
) -> Vec<http::Response<h2::RecvStream>> {
    let mut client = client.clone();
    let mut waiting = Vec::new();
    for _ in 0..count {
        client = client.ready().await.unwrap();
        waiting.push(client.send_request(request(address, "GET", path), true).unwrap().0);
    }
    let mut open = Vec::new();
    // Those that find no place wait.
    let until = tokio::time::Instant::now() + Duration::from_millis(500);
    for answer in waiting {
        if let Ok(Ok(answer)) = tokio::time::timeout_at(until, answer).await {
            open.push(answer);
        }
    }
    open
}

fn zero_window(address: Address) -> Part {
    Box::pin(async move {
        let client = client(&address, 0, 65_535).await;
        let open = open(&client, &address, "/sized?bytes=20000", 128).await;
        Box::new((client, open)) as Box<dyn Any>
    })
}

fn unread(address: Address) -> Part {
    Box::pin(async move {
        let mut all = Vec::new();
        for _ in 0..10 {
            let client = client(&address, 1 << 20, 1 << 20).await;
            let open = open(&client, &address, "/big?bytes=400000", 200).await;
            all.push((client, open));
        }
        Box::new(all) as Box<dyn Any>
    })
}

fn silent(address: Address) -> Part {
    Box::pin(async move {
        let client = client(&address, 0, 65_535).await;
        let mut streams = Vec::new();
        for _ in 0..128 {
            let mut ready = client.clone().ready().await.unwrap();
            streams.push(ready.send_request(request(&address, "POST", "/echo"), false).unwrap());
        }
        // The connection is driven by a task: what was sent is out when that has had its turn.
        tokio::task::yield_now().await;
        Box::new((client, streams)) as Box<dyn Any>
    })
}

fn drip(address: Address) -> Part {
    Box::pin(async move {
        let client = client(&address, 1 << 20, 1 << 20).await;
        let mut streams = Vec::new();
        for _ in 0..128 {
            let mut ready = client.clone().ready().await.unwrap();
            let (answer, stream) = ready.send_request(request(&address, "POST", "/echo"), false).unwrap();
            tokio::spawn(answer);
            streams.push(stream);
        }
        tokio::spawn(async move {
            loop {
                for stream in &mut streams {
                    let _reset = stream.send_data(Bytes::from_static(b"x"), false);
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        Box::new(client) as Box<dyn Any>
    })
}

fn fast(address: Address) -> Part {
    Box::pin(async move {
        for _ in 0..12 {
            let client = client(&address, 1 << 20, 1 << 20).await;
            let mut ready = client.ready().await.unwrap();
            let (answer, mut stream) =
                ready.send_request(request(&address, "POST", "/sleep?ms=2000"), false).unwrap();
            tokio::spawn(answer);
            tokio::spawn(async move {
                let _refused = send_all(&mut stream, vec![b'x'; 50 << 20].into(), true).await;
            });
        }
        // The windows of the host fill up in this time.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Box::new(()) as Box<dyn Any>
    })
}

fn slow_head(address: Address) -> Part {
    Box::pin(async move {
        use tokio::io::AsyncWriteExt as _;
        let mut socket = TcpStream::connect(address.socket()).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        // A head of 16,000 bytes.
        socket.write_all(b"\0\x3e\x80\x01\x04\0\0\0\x01").await.unwrap();
        tokio::spawn(async move {
            while socket.write_all(b"\x82").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        Box::new(()) as Box<dyn Any>
    })
}

fn pings(address: Address) -> Part {
    Box::pin(async move {
        let mut client = H2::connect(&address).await;
        client.get("/").await.expect(200);
        tokio::spawn(async move {
            while !client.is_going_away().await {
                client.ping().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Box::new(()) as Box<dyn Any>
    })
}

fn resets(address: Address) -> Part {
    Box::pin(async move {
        let mut client = client(&address, 1 << 20, 1 << 20).await;
        for _ in 0..400 {
            let Ok(ready) = client.ready().await else { break };
            client = ready;
            let Ok((answer, mut stream)) =
                client.send_request(request(&address, "GET", "/sleep?ms=3000"), true)
            else {
                break;
            };
            // The host has the request by then.
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.send_reset(h2::Reason::CANCEL);
            drop(answer);
        }
        Box::new(()) as Box<dyn Any>
    })
}
