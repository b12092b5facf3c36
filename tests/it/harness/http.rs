//! Just enough HTTP to ask a page for something, and to read a stream of events line by line.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::broker::DEADLINE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl Answer {
    /// A header's value; empty where it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let of = |line: &'_ str| line.split_once(": ").filter(|(it, _)| it.eq_ignore_ascii_case(name)).is_some();
        self.head.lines().find(|line| of(line)).and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Asks, with these further header lines, and reads to the end.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    let mut whole = String::new();
    ask(address, path, headers).read_to_string(&mut whole).unwrap();
    let (head, text) = whole.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), text: text.to_owned() }
}

/// Sends a request; a header line `Host: …` replaces the right one.
fn ask(address: SocketAddr, path: &str, headers: &[&str]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let host = if headers.iter().any(|it| it.starts_with("Host:")) { "" } else { &format!("Host: {address}\r\n") };
    let lines: String = headers.iter().map(|it| format!("{it}\r\n")).collect();
    write!(stream, "GET {path} HTTP/1.1\r\n{host}{lines}Connection: close\r\n\r\n").unwrap();
    stream
}

/// A stream of server-sent events.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// Opens it; the status where that is refused.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, u16> {
        let mut lines = BufReader::new(ask(address, "/api/events", &[]));
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        match first.split(' ').nth(1).unwrap().parse().unwrap() {
            200 => Ok(Self(lines)),
            status => Err(status),
        }
    }

    /// The next event of this kind.
    #[track_caller]
    pub(crate) fn wait(&mut self, kind: &str) -> serde_json::Value {
        let mut is_it = false;
        loop {
            let mut line = String::new();
            assert!(0 < self.0.read_line(&mut line).unwrap(), "the stream has ended");
            if let Some(name) = line.strip_prefix("event: ") {
                is_it = name.trim_end() == kind;
            } else if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}
