//! Lines at the end of a file that other processes add to as well.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde_json::Value;

const CHUNK_BYTES: u64 = 64 << 10;
/// How events begin.
const EVENT: &[u8] = b"{\"eventType\":";

/// Adds lines, all of them or none. The lock keeps others that add lines away; who reads at the same time may see the first of
/// them before the last. An event that a killed process left unfinished is cut off.
pub(super) fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    match file.lock() {
        // Without locks, nobody else should add to it.
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        locked => locked?,
    }
    let before = mended(&mut file)?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    if written.is_err() {
        let _ = file.set_len(before);
    }
    written
}

/// Ends the last line, or cuts it off when it is a part of an event, and says how long the file is then.
fn mended(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = last_line(file, length)?;
    if start == length {
        return Ok(length);
    }
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut line)?;
    let is_event = line.starts_with(EVENT) || EVENT.starts_with(&line);
    if is_event && serde_json::from_slice::<Value>(&line).is_err() {
        file.set_len(start)?;
        return Ok(start);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

/// Where the line begins that has no end yet; the length of the file if there is none.
fn last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut chunk = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES);
        chunk.clear();
        file.seek(SeekFrom::Start(start))?;
        io::Read::by_ref(file)
            .take(end - start)
            .read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A place that is removed at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("odibi-lines-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn part_of_an_event_is_cut_off_and_every_other_line_is_ended() {
        let long = "x".repeat(200_000);
        for (before, kept) in [
            (String::new(), ""),
            ("{\"n\":1}\n".to_owned(), "{\"n\":1}\n"),
            ("a\n{\"eventType\":1}".to_owned(), "a\n{\"eventType\":1}\n"),
            ("a\n{\"eventType\":".to_owned(), "a\n"),
            ("a\n{\"ev".to_owned(), "a\n"),
            ("a\nno event".to_owned(), "a\nno event\n"),
            (format!("a\n{{\"eventType\":\"{long}"), "a\n"),
            (format!("{{\"eventType\":\"{long}"), ""),
        ] {
            let place = Place::new("ends");
            std::fs::write(&place.0, &before).unwrap();
            append(&place.0, b"{\"n\":3}\n").unwrap();
            let after = std::fs::read_to_string(&place.0).unwrap();
            assert_eq!(after, format!("{kept}{{\"n\":3}}\n"));
        }
    }

    #[test]
    fn lines_that_many_add_stay_together() {
        let place = Place::new("many");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &place.0;
                scope.spawn(move || {
                    let lines = format!("[{writer},\"{}\"]\n", "y".repeat(9_000)).repeat(3);
                    for _ in 0..20 {
                        append(path, lines.as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&place.0).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4 * 20 * 3);
        for three in lines.chunks(3) {
            assert!(three.iter().all(|line| line == &three[0]));
        }
    }
}
