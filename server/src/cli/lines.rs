//! Lines of an input, found block by block: no copy and no allocation for a line.

use std::io::{self, Read};

/// Where reading begins; a longer line makes the buffer grow.
const BLOCK_BYTES: usize = 1 << 20;

/// Cuts an input into lines. The line feed is no part of a line; everything else is, carriage returns too.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// The first byte that has not been given out.
    start: usize,
    /// Behind the last byte that was read.
    end: usize,
    /// Up to here there is no line feed.
    searched: usize,
    line_bytes_max: usize,
    is_ended: bool,
}

/// What [`Lines::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line.
    Line(&'a [u8]),
    /// More has to be read with [`Lines::read`].
    Read,
    /// There is no more.
    End,
}

impl<R: Read> Lines<R> {
    /// Of this input. A line may have up to `line_bytes_max`.
    pub fn new(input: R, line_bytes_max: usize) -> Self {
        Self { input, buffer: vec![0; BLOCK_BYTES], start: 0, end: 0, searched: 0, line_bytes_max, is_ended: false }
    }

    /// The next line of what has been read. An input that does not end with a line feed has a last line all the same.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Next<'_> {
        match memchr::memchr(b'\n', &self.buffer[self.searched..self.end]) {
            Some(at) => {
                let line = self.start..self.searched + at;
                self.start = line.end + 1;
                self.searched = self.start;
                Next::Line(&self.buffer[line])
            }
            None if !self.is_ended => {
                self.searched = self.end;
                Next::Read
            }
            None if self.start < self.end => {
                let line = self.start..self.end;
                self.start = self.end;
                self.searched = self.end;
                Next::Line(&self.buffer[line])
            }
            None => Next::End,
        }
    }

    /// Reads a block. Fails on a line that is longer than it may be.
    pub fn read(&mut self) -> io::Result<()> {
        if self.start > 0 {
            // Less than a line is left of what was read before.
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            if self.end > self.line_bytes_max {
                let reason = format!("a line of more than {} bytes", self.line_bytes_max);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.is_ended = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in portions of odd sizes.
    struct Portions<'a>(&'a [u8], usize);

    impl Read for Portions<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 977 + 13;
            let read = self.0.len().min(into.len()).min(self.1);
            into[..read].copy_from_slice(&self.0[..read]);
            self.0 = &self.0[read..];
            Ok(read)
        }
    }

    fn lines(input: impl Read, max: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Lines::new(input, max);
        let mut found = Vec::new();
        loop {
            match lines.next() {
                Next::Line(line) => found.push(line.to_vec()),
                Next::Read => lines.read()?,
                Next::End => return Ok(found),
            }
        }
    }

    #[test]
    fn lines_are_what_stands_between_line_feeds() {
        let of = |text: &str| lines(text.as_bytes(), 100).expect("memory can be read");
        assert_eq!(of(""), Vec::<Vec<u8>>::new());
        assert_eq!(of("\n"), [b""]);
        assert_eq!(of("a\r\n\nb"), [&b"a\r"[..], b"", b"b"]);
        assert_eq!(of("a\nb\n"), [b"a", b"b"]);
    }

    #[test]
    fn blocks_of_any_size_give_the_same_lines() {
        let mut text = Vec::new();
        for n in 0..2000usize {
            text.extend(std::iter::repeat_n(b'a' + (n % 26) as u8, n * 7 % 3001));
            text.push(b'\n');
        }
        let expected: Vec<Vec<u8>> = text[..text.len() - 1].split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        assert!(lines(Portions(&text, 0), 1 << 20).expect("memory can be read") == expected);
    }

    #[test]
    fn a_line_has_an_end() {
        let long = vec![b'x'; 5 << 20];
        assert_eq!(lines(&long[..], 8 << 20).expect("it is short enough"), [long.clone()]);
        assert_eq!(lines(&long[..], 1 << 20).expect_err("it is too long").kind(), io::ErrorKind::InvalidData);
    }
}
