//! Whole lines of an input, block by block: no copy and no allocation for a line.

use std::io::{self, Read};

/// Where reading begins; a longer line makes the buffer grow.
const BLOCK_BYTES: usize = 1 << 20;

/// Reads an input in blocks of whole lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// The first byte that has not been given out.
    start: usize,
    /// Behind the last byte that was read.
    end: usize,
    /// Up to here there is no line feed, from `start` on.
    searched: usize,
    line_bytes_max: usize,
    is_ended: bool,
}

impl<R: Read> Lines<R> {
    /// Of this input. A line may have up to `line_bytes_max`.
    pub(super) fn new(input: R, line_bytes_max: usize) -> Self {
        Self { input, buffer: vec![0; BLOCK_BYTES], start: 0, end: 0, searched: 0, line_bytes_max, is_ended: false }
    }

    /// All whole lines that have been read and not been given out, with their line feeds; maybe none. An input that
    /// does not end with a line feed has a last line all the same.
    pub(super) fn take_block(&mut self) -> &[u8] {
        let end = match memchr::memrchr(b'\n', &self.buffer[self.searched..self.end]) {
            Some(at) => self.searched + at + 1,
            None if self.is_ended => self.end,
            None => self.start,
        };
        self.searched = self.end;
        let block = &self.buffer[self.start..end];
        self.start = end;
        block
    }

    /// Reads more; false at the input's end. Fails on a line that is longer than it may be.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        if self.is_ended {
            return Ok(false);
        }
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
                    return Ok(true);
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

    fn blocks(input: impl Read, max: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = Lines::new(input, max);
        let mut blocks = Vec::new();
        loop {
            let block = lines.take_block();
            if !block.is_empty() {
                blocks.push(block.to_vec());
            }
            if !lines.read()? {
                return Ok(blocks);
            }
        }
    }

    #[test]
    fn a_block_ends_with_a_line_but_for_the_last() {
        let of = |text: &str| blocks(text.as_bytes(), 100).expect("memory can be read");
        assert_eq!(of(""), Vec::<Vec<u8>>::new());
        assert_eq!(of("\n"), [b"\n"]);
        assert_eq!(of("a\r\n\nb"), [&b"a\r\n\n"[..], b"b"]);
        assert_eq!(of("a\nb\n"), [b"a\nb\n"]);
    }

    #[test]
    fn reads_of_any_size_give_the_same_lines() {
        let mut text = Vec::new();
        for n in 0..2000usize {
            text.extend(std::iter::repeat_n(b'a' + (n % 26) as u8, n * 7 % 3001));
            text.push(b'\n');
        }
        let blocks = blocks(Portions(&text, 0), 1 << 20).expect("memory can be read");
        assert!(blocks.iter().all(|block| block.ends_with(b"\n")));
        assert!(blocks.concat() == text);
    }

    #[test]
    fn a_line_has_an_end() {
        let long = vec![b'x'; 5 << 20];
        assert_eq!(blocks(&long[..], 8 << 20).expect("it is short enough"), std::slice::from_ref(&long));
        assert_eq!(blocks(&long[..], 1 << 20).expect_err("it is too long").kind(), io::ErrorKind::InvalidData);
    }
}
