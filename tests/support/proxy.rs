//! A proxy before a server of this machine. It fails those requests that it is told to, and passes on all others.

use std::io::{BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::recorder::{Request, head, lock};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with this status and nothing else.
    Status(u16),
    /// The connection ends without an answer, as if the server were gone.
    HangUp,
}

struct Rule {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    left: usize,
}

#[derive(Default)]
struct State {
    server: String,
    rules: Mutex<Vec<Rule>>,
    failed: Mutex<Vec<String>>,
}

/// Passes on to a server, until it is told to fail.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts it before the server at this address: `127.0.0.1:80`.
    #[must_use]
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            server: server.to_owned(),
            ..State::default()
        });
        let shared = Arc::clone(&state);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let _ = pass(&stream, &state);
                });
            }
        });
        Self { port, state }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// So many of the next requests of this method whose path and query hold this text fail so.
    pub fn fail(&self, method: &'static str, path: &'static str, fault: Fault, times: usize) {
        lock(&self.state.rules).push(Rule {
            method,
            path,
            fault,
            left: times,
        });
    }

    /// The requests that it made fail: `GET /a?b`.
    #[must_use]
    pub fn failed(&self) -> Vec<String> {
        lock(&self.state.failed).clone()
    }
}

impl State {
    fn fault(&self, line: &str) -> Option<Fault> {
        let (method, rest) = line.split_once(' ')?;
        let path = rest.split(' ').next()?;
        let mut rules = lock(&self.rules);
        let mut fitting = rules.iter_mut();
        let rule = fitting
            .find(|rule| rule.left > 0 && rule.method == method && path.contains(rule.path))?;
        rule.left -= 1;
        lock(&self.failed).push(format!("{method} {path}"));
        Some(rule.fault)
    }
}

fn pass(mut client: &TcpStream, state: &State) -> std::io::Result<()> {
    let Some(request) = Request::read(&mut BufReader::new(client))? else {
        return Ok(());
    };
    match state.fault(&request.line) {
        Some(Fault::Status(status)) => return head(client, status, "Content-Length: 0\r\n"),
        Some(Fault::HangUp) => return client.shutdown(Shutdown::Both),
        None => {}
    }
    let mut server = TcpStream::connect(&state.server)?;
    let mut text = format!("{}\r\n", request.line);
    for (name, value) in &request.headers {
        if name != "connection" {
            text += &format!("{name}: {value}\r\n");
        }
    }
    // One request for each connection: the answer ends with it.
    text += "connection: close\r\n\r\n";
    server.write_all(text.as_bytes())?;
    server.write_all(&request.body)?;
    std::io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}
