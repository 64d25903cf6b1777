//! Real clients on real sockets, and an operator with a fixed answer for each request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::super::{
    ComponentMetrics, ComponentStatus, OperatorOrder, OperatorRefusal, OperatorRequest, RefusalKind,
    Snapshot, Status, WorkMetrics,
};
use super::*;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers from a fixed snapshot. What is asked of `silent` is never answered; it says that it was asked.
struct Fixed {
    snapshot: Option<Snapshot>,
    silent: Mutex<Vec<OperatorRequest>>,
    asked: mpsc::Sender<()>,
}

impl Operator for Fixed {
    fn ask(&self, request: OperatorRequest) {
        let refused = |kind| Err(OperatorRefusal { kind, text: format!("{kind:?}\u{1b}") });
        let (order, answer) = match request {
            OperatorRequest::Snapshot(answer) if self.snapshot.is_some() => {
                let _gone = answer.send(Box::new(self.snapshot.clone().unwrap()));
                return;
            }
            OperatorRequest::Snapshot(_) => return self.keep(request),
            OperatorRequest::Order(order, answer) => (order, answer),
        };
        let result = match &order {
            OperatorOrder::Stop { component: None, now } => Ok(format!("stopping, now: {now}")),
            OperatorOrder::Stop { component: Some(_), .. } => refused(RefusalKind::Stopping),
            OperatorOrder::Reload => refused(RefusalKind::Failed),
            OperatorOrder::Restart { component } => match component.as_str() {
                "busy" => refused(RefusalKind::Busy),
                "dropped" => return,
                "silent" => return self.keep(OperatorRequest::Order(order, answer)),
                _ => refused(RefusalKind::Unknown),
            },
        };
        let _gone = answer.send(result);
    }
}

impl Fixed {
    fn keep(&self, request: OperatorRequest) {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.asked.send(()).unwrap();
    }
}

struct Lab {
    admin: Admin,
    folder: tempfile::TempDir,
    asked: mpsc::Receiver<()>,
}

fn ready() -> Snapshot {
    let component =
        ComponentStatus { name: "web".into(), line: Some("\u{9b}1m".into()), ..Default::default() };
    let status = Status {
        app: "shop".into(),
        level: "running".into(),
        ready: true,
        components: vec![component],
        ..Default::default()
    };
    let web = ComponentMetrics {
        name: "web".into(),
        work: [("request", WorkMetrics::default())].into(),
        ..Default::default()
    };
    let metrics = super::super::Metrics { components: vec![web], ..Default::default() };
    Snapshot { status, metrics }
}

fn lab(snapshot: Option<Snapshot>) -> Lab {
    let folder = tempfile::tempdir().unwrap();
    let (tell, asked) = mpsc::channel();
    let operator = Arc::new(Fixed { snapshot, silent: Mutex::default(), asked: tell });
    let (control, address) = (folder.path().join("control.sock"), "127.0.0.1:0".parse().unwrap());
    let admin = Admin::start(Some(control), Some(address), operator, || panic!("the thread died"));
    Lab { admin: admin.unwrap(), folder, asked }
}

impl Lab {
    fn control(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.admin.control.as_ref().unwrap().path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn admin(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.admin.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn order(&self, target: &str) -> (u16, String) {
        exchange(self.control(), format!("POST {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
    }
}

/// Sends bytes and reads until the connection closes. Returns status and body of the one answer.
fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> (u16, String) {
    // The other side may have had enough in the middle.
    let _enough = stream.write_all(bytes);
    answer(stream)
}

fn answer(mut stream: impl Read) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let length = format!("content-length: {}", body.len());
    assert!(head.lines().any(|line| line == length), "one answer, and complete: {text:?}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

const GET: &str = " HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn both_tell_and_only_the_control_socket_takes_orders() {
    let lab = lab(Some(ready()));
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        let request = format!("GET {path}{GET}");
        let (status, body) = exchange(lab.control(), request.as_bytes());
        assert_eq!(status, 200, "{path}: {body}");
        let (also, again) = exchange(lab.admin(), request.as_bytes());
        // The figures of the process are those of the moment.
        let lasting = |body: &str| {
            body.lines().filter(|line| !line.starts_with("process_")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!((also, lasting(&again)), (status, lasting(&body)), "{path}");
    }
    let (_, document) = exchange(lab.admin(), format!("GET /status{GET}").as_bytes());
    assert!(document.contains("\\u009b1m"), "harmless to a terminal: {document:?}");
    assert_eq!(serde_json::from_str::<Status>(&document).unwrap(), ready().status);
    assert_eq!(lab.order("/stop?now=1"), (200, "{\"done\":\"stopping, now: true\"}\n".to_owned()));
    let (status, body) = exchange(lab.admin(), format!("POST /stop{GET}").as_bytes());
    assert_eq!((status, body.contains("on the control socket only")), (403, true), "{body}");
}

#[test]
fn refusals_have_their_codes_and_an_operator_that_is_gone_too() {
    let lab = lab(Some(ready()));
    assert_eq!(lab.order("/stop?component=web"), (409, "{\"error\":\"Stopping\\u001b\"}\n".to_owned()));
    for (target, expected) in [("/restart?component=busy", 409), ("/restart?component=x", 404)] {
        assert_eq!(lab.order(target).0, expected, "{target}");
    }
    assert_eq!(lab.order("/reload").0, 500);
    assert_eq!(lab.order("/restart?component=dropped").0, 503);
}

#[test]
fn what_is_not_ready_is_said_line_by_line() {
    let mut snapshot = ready();
    snapshot.status.ready = false;
    snapshot.status.not_ready_because = vec!["web: starting".into(), "queue:\n\u{1b}failed".into()];
    let lab = lab(Some(snapshot));
    let expected = (503, "web: starting\nqueue:  failed\n".to_owned());
    assert_eq!(exchange(lab.admin(), format!("GET /readyz{GET}").as_bytes()), expected);
    assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
}

#[test]
fn what_is_no_request_gets_an_error_and_the_connection_closes() {
    let lab = lab(Some(ready()));
    let huge_head = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let huge_body = b"POST /reload HTTP/1.1\r\nhost: a\r\ncontent-length: 65537\r\n\r\n".to_vec();
    let mut endless = b"POST /reload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    endless.extend(b"4000\r\n".iter().chain(&[b'x'; 0x4000]).chain(b"\r\n").copied().cycle().take(200_000));
    let cases: [(&str, &[u8], u16); 9] = [
        ("no HTTP", b"hello\n\n", 400),
        ("binary", &[0, 255, 1, 254, b'\r', b'\n'], 400),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("HTTP/3.0", b"GET / HTTP/3.0\r\n\r\n", 400),
        ("a huge head", huge_head.as_bytes(), 431),
        ("a huge body", &huge_body, 413),
        ("an endless body", &endless, 413),
        ("a bad chunk", b"POST /reload HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    ];
    for (what, bytes, expected) in cases {
        let (status, body) = exchange(lab.control(), bytes);
        assert_eq!(status, expected, "{what}: {body}");
        assert!(body.starts_with("{\"error\":\""), "{what}: {body}");
        assert_eq!(exchange(lab.admin(), bytes).0, expected, "{what} over TCP");
    }
    assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
}

#[test]
fn who_closes_half_way_is_told_or_answered() {
    let lab = lab(Some(ready()));
    for (bytes, expected) in [("GET /sta", 400), ("GET /status HTTP/1.1\r\n\r\n", 200)] {
        let mut stream = lab.admin();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(stream).0, expected, "{bytes}");
    }
    let mut silent = lab.control();
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0, "who says nothing is told nothing");
}

#[test]
fn a_slow_head_is_ended() {
    let lab = lab(Some(ready()));
    let begun = Instant::now();
    let (status, body) = exchange(lab.control(), b"GET /status HTTP/1.1\r\nhost");
    assert_eq!(status, 408, "{body}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn clients_beyond_the_limit_wait_for_a_place_and_keep_nobody_else_out() {
    let lab = lab(None);
    let waits = || {
        let mut stream = lab.control();
        stream.write_all(format!("GET /readyz{GET}").as_bytes()).unwrap();
        lab.asked.recv_timeout(PATIENCE).unwrap();
        stream
    };
    let waiting: Vec<UnixStream> = (0..CONNECTIONS).map(|_| waits()).collect();
    assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
    let mut late = lab.control();
    late.write_all(format!("GET /livez{GET}").as_bytes()).unwrap();
    late.set_nonblocking(true).unwrap();
    let error = late.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    late.set_nonblocking(false).unwrap();
    assert_eq!(answer(late).0, 200, "when the others have their answers");
    assert!(waiting.into_iter().all(|stream| answer(stream).0 == 503));
}

/// Kubernetes gives up on a probe after a second, and kills the app after three.
#[test]
fn who_asks_nothing_makes_room_for_who_does() {
    let lab = lab(Some(ready()));
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS * 2).map(|_| lab.admin()).collect();
    idle.iter_mut().for_each(|stream| stream.write_all(b"GET /live").unwrap());
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut last = idle.pop().unwrap();
    last.write_all(format!("z{GET}").as_bytes()).unwrap();
    assert_eq!(answer(last).0, 200, "the oldest ones were sent away");
}

/// Issue 13: 300 requests whose bodies do not come.
#[test]
fn who_does_not_end_its_request_or_take_its_leave_makes_room() {
    let lab = lab(Some(ready()));
    let unfinished = "GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n";
    for request in [unfinished.to_owned(), format!("GET /livez{GET}")] {
        let send = |mut stream: Box<dyn ReadWrite>| {
            stream.write_all(request.as_bytes()).unwrap();
            stream
        };
        let _admin: Vec<_> = (0..300).map(|_| send(Box::new(lab.admin()))).collect();
        let _control: Vec<_> = (0..300).map(|_| send(Box::new(lab.control()))).collect();
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
            assert_eq!(exchange(lab.control(), format!("GET /livez{GET}").as_bytes()).0, 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_silent_control_thread_is_told_of_and_livez_does_not_ask_it() {
    let lab = lab(None);
    let mut waits = lab.admin();
    waits.write_all(format!("GET /readyz{GET}").as_bytes()).unwrap();
    lab.asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(exchange(lab.admin(), format!("GET /livez{GET}").as_bytes()).0, 200);
    let (status, body) = answer(waits);
    assert_eq!((status, body.contains("the control thread does not answer")), (503, true), "{body}");
}

#[test]
fn at_the_end_who_has_asked_is_answered_and_the_file_goes() {
    let lab = lab(Some(ready()));
    let idle = lab.admin();
    let mut waits = lab.control();
    waits.write_all(format!("POST /restart?component=silent{GET}").as_bytes()).unwrap();
    lab.asked.recv_timeout(PATIENCE).unwrap();
    let (path, admin) = (lab.admin.control.as_ref().unwrap().path.clone(), lab.admin.admin.unwrap());
    drop(lab.admin);
    assert_eq!(answer(waits).0, 503);
    assert_eq!((&idle).read(&mut [0; 1]).unwrap(), 0);
    assert!(!path.exists() && TcpStream::connect(admin).is_err());
    drop(lab.folder);
}

#[test]
fn an_address_in_use_leaves_nothing_bound() {
    let lab = lab(Some(ready()));
    let (tell, _asked) = mpsc::channel();
    let path = lab.folder.path().join("other.sock");
    let operator = Arc::new(Fixed { snapshot: None, silent: Mutex::default(), asked: tell });
    let error = Admin::start(Some(path.clone()), lab.admin.admin, operator, || {}).unwrap_err();
    assert!(error.to_string().contains("cannot listen on the admin address 127.0.0.1:"), "{error}");
    assert!(matches!(error, AdminError::Admin { .. }));
    assert!(!path.exists());
}
