//! A web server of this machine that records what it is sent, and answers as it is told: badly for a while, then well.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// How a request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// With this status and nothing else.
    Status(u16),
    /// With this status and a header `Retry-After`.
    After(u16, String),
    /// With a redirect to this address.
    Redirect(String),
    /// Not at all, until the other side gives up.
    Never,
    /// The connection is reset.
    Reset,
    /// With this status, and a body that does not end.
    Endless(u16),
    /// With 200 and this body.
    File(String),
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Path and query.
    pub path: String,
    /// Names in lowercase letters.
    pub headers: BTreeMap<String, String>,
    /// All of it.
    pub body: Vec<u8>,
    /// It was answered with a status of success.
    pub taken: bool,
}

impl Recorded {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Default)]
struct State {
    recorded: Mutex<Vec<Recorded>>,
    more: Condvar,
    script: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
}

/// Answers as its script says, and with 200 when that has ended.
pub struct Recorder {
    port: u16,
    state: Arc<State>,
}

impl Recorder {
    /// Starts it on a port of this machine.
    #[must_use]
    pub fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        state.script.lock().unwrap().extend(script);
        let shared = Arc::clone(&state);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let _ = answer(&stream, &state);
                });
            }
        });
        Self { port, state }
    }

    /// Its address, with this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Says how further requests are answered before all goes well.
    pub fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state.script).extend(replies);
    }

    /// From now on everything goes well.
    pub fn heal(&self) {
        lock(&self.state.script).clear();
        *lock(&self.state.always) = None;
    }

    /// From now on this is how every request is answered that the script says nothing of.
    pub fn always(&self, reply: Reply) {
        *lock(&self.state.always) = Some(reply);
    }

    /// Everything so far.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        lock(&self.state.recorded).clone()
    }

    /// Those that were answered well.
    #[must_use]
    pub fn taken(&self) -> Vec<Recorded> {
        let mut all = self.recorded();
        all.retain(|request| request.taken);
        all
    }

    /// Waits until so many requests have come in.
    pub fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let recorded = lock(&self.state.recorded);
        let waited = self
            .state
            .more
            .wait_while(recorded, |all| all.len() < count);
        waited.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a client sends.
pub(crate) struct Request {
    /// `GET /a?b HTTP/1.1`
    pub(crate) line: String,
    /// Names in lowercase letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Reads one; `None` when the client has hung up instead.
    pub(crate) fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length");
        let length = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self {
            line: line.trim_end().to_owned(),
            headers,
            body,
        }))
    }
}

fn answer(mut stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let Some(request) = Request::read(&mut reader)? else {
        return Ok(());
    };
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    let reply = lock(&state.script).pop_front();
    let reply = reply.or_else(|| lock(&state.always).clone());
    let reply = reply.unwrap_or(Reply::Status(200));
    let taken = match reply {
        Reply::Status(status) | Reply::After(status, _) | Reply::Endless(status) => status < 300,
        Reply::File(_) => true,
        Reply::Redirect(_) | Reply::Never | Reply::Reset => false,
    };
    lock(&state.recorded).push(Recorded {
        path: path.to_owned(),
        headers: request.headers,
        body: request.body,
        taken,
    });
    state.more.notify_all();
    match reply {
        Reply::Status(status) => head(stream, status, "Content-Length: 0\r\n"),
        Reply::After(status, text) => head(
            stream,
            status,
            &format!("Retry-After: {text}\r\nContent-Length: 0\r\n"),
        ),
        Reply::Redirect(to) => head(
            stream,
            302,
            &format!("Location: {to}\r\nContent-Length: 0\r\n"),
        ),
        // Nothing more comes: this ends when the other side closes.
        Reply::Never => reader.read(&mut [0; 1]).map(|_| ()),
        // Half an answer, and then the end of the connection.
        Reply::Reset => stream.write_all(b"HTTP/1.1 2"),
        Reply::Endless(status) => {
            head(stream, status, "Content-Length: 107374182400\r\n")?;
            loop {
                stream.write_all(&[b'x'; 64 << 10])?;
            }
        }
        Reply::File(body) => {
            head(stream, 200, &format!("Content-Length: {}\r\n", body.len()))?;
            match request.line.starts_with("HEAD ") {
                true => Ok(()),
                false => stream.write_all(body.as_bytes()),
            }
        }
    }
}

pub(crate) fn head(mut stream: &TcpStream, status: u16, more: &str) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status} x\r\nConnection: close\r\n{more}\r\n").as_bytes())
}
