//! From chunks of any size to blocks of whole lines, in bounded memory.

use memchr::{memchr, memrchr};

/// Bytes of one block at most, but for one long line.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Bytes kept from the start of one line.
pub(crate) const LINE_HEAD_BYTES_MAX: usize = 32 * 1024;
/// Bytes kept from the end of a line that is longer than [`LINE_HEAD_BYTES_MAX`].
pub(crate) const LINE_TAIL_BYTES_MAX: usize = 8 * 1024;

/// Cuts a stream into blocks that end with a line break. Of a line that is too long its start
/// and its end are kept, with a carriage return between them, so it counts as one line.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// The start of a line whose end has not come yet.
    head: Vec<u8>,
    /// The newest bytes of that line when its head is full.
    tail: Vec<u8>,
}

impl Feed {
    /// Takes the next chunk and hands every block that is complete to `block`.
    pub(crate) fn push(&mut self, chunk: &[u8], mut block: impl FnMut(&[u8])) {
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.head.is_empty() {
                let window = &rest[..rest.len().min(BLOCK_BYTES_MAX)];
                if let Some(end) = memrchr(b'\n', window) {
                    block(&rest[..=end]);
                    rest = &rest[end + 1..];
                    continue;
                }
            }
            let Some(end) = memchr(b'\n', rest) else { return self.keep(rest) };
            self.keep(&rest[..end]);
            self.end_line(&mut block);
            rest = &rest[end + 1..];
        }
    }

    /// Hands over what is left: a last line without a line break.
    pub(crate) fn end(&mut self, mut block: impl FnMut(&[u8])) {
        if !self.head.is_empty() {
            self.end_line(&mut block);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_HEAD_BYTES_MAX - self.head.len();
        let (head, over) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        let newest = &over[over.len().saturating_sub(LINE_TAIL_BYTES_MAX)..];
        if self.tail.len() + newest.len() > 2 * LINE_TAIL_BYTES_MAX {
            let old = (self.tail.len() + newest.len()).saturating_sub(LINE_TAIL_BYTES_MAX);
            self.tail.drain(..old.min(self.tail.len()));
        }
        self.tail.extend_from_slice(newest);
    }

    fn end_line(&mut self, block: &mut impl FnMut(&[u8])) {
        if !self.tail.is_empty() {
            let newest = self.tail.len().saturating_sub(LINE_TAIL_BYTES_MAX);
            self.head.push(b'\r');
            self.head.extend_from_slice(&self.tail[newest..]);
            self.tail.clear();
        }
        self.head.push(b'\n');
        block(&self.head);
        self.head.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(log: &[u8], chunk_bytes: usize) -> Vec<u8> {
        let mut feed = Feed::default();
        let mut all = Vec::new();
        for chunk in log.chunks(chunk_bytes) {
            feed.push(chunk, |block| all.extend_from_slice(block));
        }
        feed.end(|block| all.extend_from_slice(block));
        all
    }

    #[test]
    fn chunks_of_every_size_give_the_same_lines() {
        let log = b"one\n\ntwo two\r\nthree\nfour";
        for size in 1..=log.len() {
            assert_eq!(blocks(log, size), [log.as_slice(), b"\n"].concat(), "{size}");
        }
    }

    #[test]
    fn a_long_line_keeps_its_start_and_its_end() {
        let mut log = b"start ".to_vec();
        log.extend(vec![b'#'; 1_000_000]);
        log.extend_from_slice(b" the end\nnext");
        for size in [100, 4_096, 70_000, 2_000_000] {
            let kept = blocks(&log, size);
            assert!(kept.len() <= LINE_HEAD_BYTES_MAX + LINE_TAIL_BYTES_MAX + 10, "{size}");
            assert!(kept.starts_with(b"start #") && kept.ends_with(b" the end\nnext\n"), "{size}");
        }
    }
}
