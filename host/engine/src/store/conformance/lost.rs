//! Answers that get lost: a relay in front of a server carries a request over and hangs up instead of answering, or answers
//! in its place that the server is busy.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use odibi_story::failure::FailureClass;

use super::places::{azure_at, named, open, s3_at, server, write};
use super::{MIB, content, done, pattern, put};
use crate::documents::Documents;
use crate::store::{Expect, Store, Stores};

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// Their answers are lost.
    Lost,
    /// They never arrive; the answer is 503.
    Busy,
}

/// A relay to a server for whose next so many requests which begin with these words something goes wrong.
pub(crate) fn relay(
    origin: &str,
    begins: &'static str,
    mishap: Mishap,
    lost: Arc<AtomicU32>,
) -> String {
    let upstream = origin.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (upstream, lost) = (upstream.clone(), Arc::clone(&lost));
            std::thread::spawn(move || carry(client.unwrap(), &upstream, begins, mishap, &lost));
        }
    });
    url
}

fn carry(mut client: TcpStream, upstream: &str, begins: &str, mishap: Mishap, lost: &AtomicU32) {
    let mut server = TcpStream::connect(upstream).unwrap();
    let (mut from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let loses = Arc::new(AtomicU32::new(0));
    let back = {
        let loses = Arc::clone(&loses);
        let mut to = to;
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                if loses.load(Ordering::SeqCst) > 0 || to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        })
    };
    let mut buffer = [0; 65_536];
    while let Ok(n @ 1..) = client.read(&mut buffer) {
        let first = lost.load(Ordering::SeqCst) > 0 && buffer[..n].starts_with(begins.as_bytes());
        if first {
            lost.fetch_sub(1, Ordering::SeqCst);
            loses.store(1, Ordering::SeqCst);
            if mishap == Mishap::Busy {
                let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = client.write_all(busy);
                break;
            }
        }
        if server.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
    back.join().unwrap();
}

fn through(begins: &'static str, prefix: &str) -> (Arc<dyn Store>, Arc<dyn Store>, Arc<AtomicU32>) {
    let lost = Arc::new(AtomicU32::new(0));
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("test-lost-{prefix}");
    let shaky = open(
        s3_at(
            &relay(&server("s3"), begins, Mishap::Lost, Arc::clone(&lost)),
            &server("bucket"),
            &prefix,
        ),
        &dir,
    );
    let steady = open(s3_at(&server("s3"), &server("bucket"), &prefix), &dir);
    std::mem::forget(dir);
    (shaky, steady, lost)
}

#[test]
fn a_put_whose_answer_is_lost_counts_once() {
    let (shaky, steady, lost) = through("PUT ", "put");
    for (n, expect) in [Expect::Absent, Expect::Anything].into_iter().enumerate() {
        let path = format!("t{n}");
        lost.store(1, Ordering::SeqCst);
        done(put(shaky.as_ref(), &path, b"mine", &expect));
        assert_eq!(lost.load(Ordering::SeqCst), 0, "the answer was lost");
        assert_eq!(content(steady.as_ref(), &path), b"mine");
    }
    let version = steady.stat("t0").unwrap().unwrap().version;
    lost.store(1, Ordering::SeqCst);
    done(put(
        shaky.as_ref(),
        "t0",
        b"mine again",
        &Expect::Version(version.clone()),
    ));
    assert_eq!(content(steady.as_ref(), "t0"), b"mine again");
    // What somebody else has put is not taken for ours.
    write(steady.as_ref(), "t0", "theirs");
    lost.store(1, Ordering::SeqCst);
    // Whether ours was there before theirs, nobody can tell: it is not called refused.
    let mut upload = shaky.create("t0").unwrap();
    upload.writer().unwrap().write_all(b"late").unwrap();
    let failure = upload.put(&Expect::Version(version)).unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient, "{failure:?}");
    assert_eq!(content(steady.as_ref(), "t0"), b"theirs");
}

/// Azure removes by a POST, which no client repeats by itself.
#[test]
fn a_removal_whose_answer_is_lost_is_done_again() {
    let azure = server("azure");
    let (origin, account) = azure.rsplit_once('/').unwrap();
    let lost = Arc::new(AtomicU32::new(0));
    let relay = relay(origin, "POST ", Mishap::Lost, Arc::clone(&lost));
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::new(dir.path(), dir.path());
    let through = azure_at(&format!("{relay}/{account}"), "test-lost-removal");
    let documents = Documents::of(&stores, &named(through)).unwrap();
    let paths = ["d/a", "d/b", "d/c"].map(str::to_owned);
    for path in &paths {
        documents.write(path, b"x").unwrap();
    }
    lost.store(2, Ordering::SeqCst);
    documents.remove_all(&[paths.to_vec()]).unwrap();
    assert_eq!(lost.load(Ordering::SeqCst), 0, "answers were lost");
    assert!(documents.list("d").unwrap().is_empty());
}

#[test]
fn parts_that_were_put_together_unheard_count_once() {
    let (shaky, steady, lost) = through("POST ", "parts");
    let whole = pattern(17 * MIB);
    for (n, expect) in [Expect::Absent, Expect::Anything].into_iter().enumerate() {
        // The first answer to a POST names the upload; without it another one is begun.
        lost.store(1, Ordering::SeqCst);
        let path = format!("t{n}");
        done(put(shaky.as_ref(), &path, &whole, &expect));
        assert_eq!(lost.load(Ordering::SeqCst), 0, "the answer was lost");
        assert!(content(steady.as_ref(), &path) == whole);
    }
}
