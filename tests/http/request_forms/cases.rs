//! The forms of requests, as data. `HOST` and `END` stand for a good `host` line and the end of a head.

/// One form of HTTP/1.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The words of the table.
    pub what: &'static str,
    /// What is sent.
    pub bytes: &'static str,
    /// The client closes its writing half behind it.
    pub is_finished: bool,
}

const fn form(what: &'static str, bytes: &'static str) -> Form {
    Form { what, bytes, is_finished: false }
}

const fn finished(what: &'static str, bytes: &'static str) -> Form {
    Form { what, bytes, is_finished: true }
}

/// Who is asked for.
pub const AUTHORITIES: &[Form] = &[
    form("a host", "GET /headers HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form(
        "a host in capitals, with a final dot and a port",
        "GET /headers HTTP/1.1\r\nHost: A.Example.:8080\r\n\r\n",
    ),
    form("an empty port", "GET /headers HTTP/1.1\r\nHost: a.example:\r\n\r\n"),
    form("an IPv6 address", "GET /headers HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
    form("no host", "GET /headers HTTP/1.1\r\n\r\n"),
    form("an empty host", "GET /headers HTTP/1.1\r\nHost:\r\n\r\n"),
    form("two hosts", "GET /headers HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n"),
    form("the same host twice", "GET /headers HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"),
    form("a user", "GET /headers HTTP/1.1\r\nHost: user@a.example\r\n\r\n"),
    form(
        "a host, and another one behind `@`",
        "GET /headers HTTP/1.1\r\nHost: a.example:80@b.example\r\n\r\n",
    ),
    form("a port that is too large", "GET /headers HTTP/1.1\r\nHost: a.example:99999\r\n\r\n"),
    form("a port that is no number", "GET /headers HTTP/1.1\r\nHost: a.example:abc\r\n\r\n"),
    form("a port with a sign", "GET /headers HTTP/1.1\r\nHost: a.example:+80\r\n\r\n"),
    form("an encoded host", "GET /headers HTTP/1.1\r\nHost: a%2eexample\r\n\r\n"),
    form("a path in the host", "GET /headers HTTP/1.1\r\nHost: a.example/b\r\n\r\n"),
    form("an IPv6 address without brackets", "GET /headers HTTP/1.1\r\nHost: ::1\r\n\r\n"),
    form("bytes above ASCII in the host", "GET /headers HTTP/1.1\r\nHost: ä.example\r\n\r\n"),
    form("a blank before the colon of `Host`", "GET /headers HTTP/1.1\r\nHost : a.example\r\n\r\n"),
    form("a folded line", "GET /headers HTTP/1.1\r\nHost: a.example\r\nX-Long: a\r\n b\r\n\r\n"),
    form("absolute form", "GET http://b.example/headers HTTP/1.1\r\nHost: b.example\r\n\r\n"),
    form(
        "absolute form, another host",
        "GET http://b.example:81/headers HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form("absolute form, no host", "GET http://b.example/headers HTTP/1.1\r\n\r\n"),
    form("absolute form, a bad host", "GET http://b.example/headers HTTP/1.1\r\nHost: a b\r\n\r\n"),
    form(
        "absolute form with a user",
        "GET http://user@b.example/headers HTTP/1.1\r\nHost: b.example\r\n\r\n",
    ),
    form(
        "absolute form of another scheme",
        "GET ftp://b.example/headers HTTP/1.1\r\nHost: b.example\r\n\r\n",
    ),
    form("authority form", "GET b.example:80 HTTP/1.1\r\nHost: b.example\r\n\r\n"),
];

/// What is asked for.
pub const TARGETS: &[Form] = &[
    form("two slashes", "GET //a//b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("dots", "GET /a/./b/../c HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("encoded letters and slashes", "GET /%61%2Fb HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("capitals", "GET /HEADERS HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a route by its exact path", "GET /v1 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a route, doubled slash", "GET //v1 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a route, encoded letter", "GET /%761 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a route, capital", "GET /V1 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a route, through dots", "GET /x/../v1 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a fragment", "GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a backslash", "GET /a\\b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("bytes above ASCII", "GET /ä HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a relative path", "GET a/b HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("`*` with GET", "GET * HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("`*` with OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("no target", "GET HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("two blanks", "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form(
        "CONNECT, and a request behind it",
        "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form(
        "an upgrade with a body",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbodyGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form("an unknown method", "BREW / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
];

/// How it is written, and how its body is framed.
pub const FRAMES: &[Form] = &[
    form("an empty line before it", "\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("line ends by LF alone", "GET / HTTP/1.1\nHost: a.example\n\n"),
    form("another version", "GET / HTTP/1.2\r\nHost: a.example\r\n\r\n"),
    form("HTTP/0.9", "GET /\r\n\r\n"),
    form("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n"),
    form("a control character in a field", "GET / HTTP/1.1\r\nHost: a.example\r\nX-A: a\u{1}b\r\n\r\n"),
    form("a field without a name", "GET / HTTP/1.1\r\nHost: a.example\r\n: b\r\n\r\n"),
    finished("a head that breaks off", "GET / HTTP/1.1\r\nHost: a.exam"),
    finished("a whole request, then the end", "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    form("a length", "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody"),
    form(
        "a length twice, the same",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    ),
    form(
        "two lengths",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody!",
    ),
    form("a length with a sign", "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: +4\r\n\r\nbody"),
    form(
        "chunks",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
    form(
        "chunks, then a request",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form(
        "chunks and a length",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form(
        "`gzip, chunked`",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
    form(
        "`gzip` and `chunked` apart",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
    form(
        "`chunked` twice",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
    form("`gzip` alone", "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip\r\n\r\nbody"),
    form(
        "`xchunked`",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    form(
        "trailers, then a request",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form(
        "trailers that end by LF alone, then a request",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\n\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ),
    form(
        "the same, and a request in its body",
        "POST /echo HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\n\nPOST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 52\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\n\r\n",
    ),
    form(
        "a chunk size that is none",
        "POST /hand-over HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody\r\n0\r\n\r\n",
    ),
    form(
        "claims, and other spellings of them",
        "GET /headers HTTP/1.1\r\nHost: a.example\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\nx_forwarded_for: 9.9.9.9\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 9.9.9.9\r\nx_request_id: 1\r\nX-Other: 1\r\n\r\n",
    ),
];

/// The same and more in HTTP/1.0.
pub const OLD: &[Form] = &[
    form("no host", "GET /headers HTTP/1.0\r\n\r\n"),
    form("a host", "GET /headers HTTP/1.0\r\nHost: a.example\r\n\r\n"),
    form("a bad host", "GET /headers HTTP/1.0\r\nHost: a@b\r\n\r\n"),
    form("absolute form, no host", "GET http://b.example/headers HTTP/1.0\r\n\r\n"),
    form(
        "`Connection: keep-alive`",
        "GET /headers HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
    ),
    form(
        "chunks",
        "POST /echo HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ),
    finished("a whole request, then the end", "GET / HTTP/1.0\r\n\r\n"),
];

/// One form of HTTP/2: its name, method, `:authority`, `:path`, and more fields.
type Http2Form =
    (&'static str, &'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

pub const HTTP2: &[Http2Form] = &[
    ("an authority", "GET", "a.example", "/headers", &[]),
    ("an authority and the same `host`", "GET", "a.example", "/headers", &[("host", "A.EXAMPLE:80")]),
    ("an authority and another `host`", "GET", "a.example", "/headers", &[("host", "b.example")]),
    ("an authority and another port", "GET", "a.example", "/headers", &[("host", "a.example:81")]),
    ("a user", "GET", "user@a.example", "/headers", &[]),
    ("a port that is too large", "GET", "a.example:99999", "/headers", &[]),
    ("an empty port", "GET", "a.example:", "/headers", &[]),
    ("two slashes", "GET", "a.example", "//a//b", &[]),
    ("dots", "GET", "a.example", "/a/./b/../c", &[]),
    ("encoded letters and slashes", "GET", "a.example", "/%61%2Fb", &[]),
    (
        "claims, and other spellings of them",
        "GET",
        "a.example",
        "/headers",
        &[
            ("x-forwarded-for", "9.9.9.9"),
            ("x_forwarded_for", "9.9.9.9"),
            ("x_real_ip", "9.9.9.9"),
            ("x-other", "1"),
        ],
    ),
    ("an unknown method", "BREW", "a.example", "/", &[]),
];
