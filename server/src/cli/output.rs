//! Output: data on stdout in large writes, progress on stderr when a person watches.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// Where a write to stdout is large enough.
const WRITE_BYTES: usize = 256 << 10;
/// How often a progress line is renewed.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Standard output without a lock or a flush for each line.
#[derive(Debug)]
pub(super) struct Stdout {
    file: File,
    buffer: Vec<u8>,
}

impl Stdout {
    /// The process's own.
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { file, buffer: Vec::with_capacity(2 * WRITE_BYTES) })
    }

    /// Where to append what is to be written; [`Stdout::settle`] writes it when there is enough of it.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes if a write is worth it.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes everything.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes one line at once.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.push(b'\n');
        self.flush()
    }
}

/// Standard input without a buffer of its own.
pub(super) fn stdin() -> io::Result<impl Read> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// A line on stderr that renews itself, when stderr is a terminal; else nothing.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    begun: Instant,
    renewed: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: io::stderr().is_terminal(), begun: now, renewed: now }
    }

    /// Shows how far things are, if it is time.
    pub(super) fn renew(&mut self, records: u64, bytes: u64) {
        if self.is_shown && self.renewed.elapsed() >= PROGRESS_EVERY {
            self.renewed = Instant::now();
            let line = describe(records, bytes, self.begun.elapsed());
            // A terminal that is gone is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        }
    }

    /// Leaves the last word.
    pub(super) fn finish(&self, records: u64, bytes: u64) {
        if self.is_shown {
            let line = describe(records, bytes, self.begun.elapsed());
            let _ = writeln!(io::stderr(), "\r\x1b[K{line}");
        }
    }
}

fn describe(records: u64, bytes: u64, time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = bytes / millis / 1000;
    let tenths = bytes / 100_000;
    format!("{records} records, {}.{} MB, {rate} MB/s", tenths / 10, tenths % 10)
}

/// Rows of text in columns as wide as they need.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "é".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlonger  é\n");
    }

    #[test]
    fn progress_is_said_in_decimal_megabytes() {
        assert_eq!(describe(10, 1_550_000, Duration::from_millis(10)), "10 records, 1.5 MB, 155 MB/s");
    }
}
