//! A parser of HTTP/1 answers that is fed with what arrives, so that blocking and asynchronous clients share it.
//!
//! Invariant: it never takes an answer for whole that is not: what its framing promised has come, trailers and
//! the last chunk included.

/// One answer, or as much of it as has come.
#[derive(Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub version: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// Without most of a long body.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Answer { status, version, headers, body, trailers } = self;
        let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
        write!(f, "{version} {status} {headers:?}, {} bytes: {text:?}, {trailers:?}", body.len())
    }
}

impl Answer {
    /// The first header of this name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|trailer| trailer.0 == name).map(|trailer| trailer.1.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the connection ends with this answer.
    pub fn closes(&self) -> bool {
        let said = self.header("connection").unwrap_or_default().to_ascii_lowercase();
        said.split(',').any(|word| word.trim() == "close")
            || (self.version == "HTTP/1.0" && !said.contains("keep-alive"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "status of {self:?}");
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    UntilClose,
    Done,
}

/// The state of one answer.
#[derive(Debug)]
pub struct Parser {
    stage: Stage,
    buffer: Vec<u8>,
    /// The request was HEAD: whatever the head says, no body follows.
    bodiless: bool,
    pub began: bool,
    pub answer: Answer,
}

impl Parser {
    /// A parser for the answer to a request of this method. What was left behind the last answer comes first.
    pub fn new(method: &str, rest: Vec<u8>) -> Parser {
        let mut parser = Parser {
            stage: Stage::Head,
            buffer: Vec::new(),
            bodiless: method == "HEAD",
            began: false,
            answer: Answer::default(),
        };
        parser.feed(&rest);
        parser
    }

    pub fn has_head(&self) -> bool {
        self.stage != Stage::Head
    }

    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether only the end of the connection ends this answer.
    pub fn lasts_until_close(&self) -> bool {
        self.stage == Stage::UntilClose
    }

    /// What came behind the answer.
    pub fn rest(self) -> Vec<u8> {
        self.buffer
    }

    #[track_caller]
    pub fn feed(&mut self, bytes: &[u8]) {
        self.began |= !bytes.is_empty();
        self.buffer.extend_from_slice(bytes);
        while self.step() {}
    }

    /// Goes on by one stage; `false` when more has to come.
    #[track_caller]
    fn step(&mut self) -> bool {
        match self.stage {
            Stage::Done => false,
            Stage::Head => self.head(),
            Stage::UntilClose => {
                self.answer.body.append(&mut self.buffer);
                false
            }
            Stage::Length(left) => self.data(left, Stage::Length, Stage::Done),
            Stage::Chunk(left) => self.data(left, Stage::Chunk, Stage::ChunkSize),
            Stage::ChunkSize => self.chunk_size(),
            Stage::Trailers => match self.line() {
                None => false,
                Some(line) if line.is_empty() => {
                    self.stage = Stage::Done;
                    true
                }
                Some(line) => {
                    self.answer.trailers.push(field(&line));
                    true
                }
            },
        }
    }

    /// A line without its end.
    fn line(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 2);
        Some(line)
    }

    fn head(&mut self) -> bool {
        let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let mut words = status.split(' ');
        self.answer.version = words.next().unwrap().to_string();
        let code = words.next().and_then(|word| word.parse().ok());
        self.answer.status = code.unwrap_or_else(|| panic!("{status:?} is no status line"));
        self.answer.headers = lines.map(field).collect();
        // An interim answer is followed by the real one.
        if self.answer.status / 100 == 1 && self.answer.status != 101 {
            return true;
        }
        self.stage = self.framing();
        true
    }

    /// RFC 9112 §6.3.
    fn framing(&self) -> Stage {
        let answer = &self.answer;
        if self.bodiless || matches!(answer.status, 101 | 204 | 304) {
            return Stage::Done;
        }
        if answer.header("transfer-encoding").is_some_and(|said| said.eq_ignore_ascii_case("chunked")) {
            return Stage::ChunkSize;
        }
        match answer.header("content-length").map(str::parse) {
            Some(Ok(0)) => Stage::Done,
            Some(Ok(length)) => Stage::Length(length),
            Some(Err(error)) => panic!("content-length: {error} in {:?}", answer.headers),
            None => Stage::UntilClose,
        }
    }

    fn data(&mut self, left: u64, again: fn(u64) -> Stage, then: Stage) -> bool {
        if self.buffer.is_empty() {
            return false;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        self.answer.body.extend(self.buffer.drain(..take));
        let left = left - take as u64;
        self.stage = if left == 0 { then } else { again(left) };
        true
    }

    fn chunk_size(&mut self) -> bool {
        let Some(line) = self.line() else { return false };
        // The end of the data of the chunk before.
        if line.is_empty() {
            return true;
        }
        let digits = line.split(';').next().unwrap().trim();
        let size = u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{error}: chunk {line:?}"));
        self.stage = if size == 0 { Stage::Trailers } else { Stage::Chunk(size) };
        true
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{line:?} is no header"));
    (name.trim().to_ascii_lowercase(), value.trim().to_string())
}
