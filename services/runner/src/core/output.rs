//! What is kept of a step's output: the beginning as it comes, the end at the end, and a count of
//! what was cut between them.

use meta_domain::limits::LOG_BYTES_MAX;
use meta_domain::masking::Masker;
use meta_domain::time::Timestamp;
use std::collections::VecDeque;

/// Bytes from the beginning that are kept and sent at once.
pub const HEAD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes held back for the end.
pub const TAIL_BYTES_MAX: usize = LOG_BYTES_MAX - HEAD_BYTES_MAX - MARKER_BYTES_MAX;
/// Room for the line that says how much was cut.
const MARKER_BYTES_MAX: usize = 128;
/// A longer line is cut into pieces of this many bytes.
pub const PIECE_BYTES_MAX: usize = 16 * 1024;
/// A long line is cut between words where one ends within this many bytes before the limit.
const WORD_BYTES_MAX: usize = 1024;
/// Neighbouring lines of one stream become one chunk when they come this close to each other.
const SAME_CHUNK_MS: u64 = 50;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Whole lines (or a piece of a long one) from one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// When it was read.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes, masked.
    pub text: Vec<u8>,
}

/// Collects the output of one execution.
#[derive(Debug)]
pub struct Output {
    masker: Masker,
    partial: [Vec<u8>; 2],
    head_left: usize,
    ready: Vec<Chunk>,
    ready_bytes: usize,
    in_key: [bool; 2],
    tail: VecDeque<(Chunk, bool)>,
    tail_bytes: usize,
    cut_bytes: u64,
}

impl Output {
    /// An empty log.
    pub fn new(masker: Masker) -> Self {
        Self {
            masker,
            partial: [Vec::new(), Vec::new()],
            head_left: HEAD_BYTES_MAX,
            ready: Vec::new(),
            ready_bytes: 0,
            in_key: [false, false],
            tail: VecDeque::new(),
            tail_bytes: 0,
            cut_bytes: 0,
        }
    }

    /// Takes bytes in as they were read.
    pub fn push(&mut self, stream: Stream, mut bytes: &[u8], at: Timestamp) {
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
        while !bytes.is_empty() {
            // As many whole lines as fit a piece are handled together.
            let room = PIECE_BYTES_MAX - partial.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().rposition(|b| *b == b'\n') {
                if partial.is_empty() {
                    let whole = &window[..=end];
                    let settled = self.masker.settled(whole);
                    self.keep(stream, &whole[..settled], at);
                    partial.extend_from_slice(&whole[settled..]);
                } else {
                    partial.extend_from_slice(&window[..=end]);
                    let settled = self.masker.settled(&partial);
                    self.keep(stream, &partial[..settled], at);
                    partial.drain(..settled);
                }
                bytes = &bytes[end + 1..];
            } else {
                partial.extend_from_slice(window);
                bytes = &bytes[window.len()..];
                if partial.len() == PIECE_BYTES_MAX {
                    let cut = match self.masker.cut(&partial, word_end(&partial)) {
                        // A secret as long as a piece is masked by its lines alone.
                        0 => partial.len(),
                        cut => cut,
                    };
                    self.keep(stream, &partial[..cut], at);
                    partial.drain(..cut);
                }
            }
        }
        self.partial[stream as usize] = partial;
    }

    /// Puts a line of the runner's own before what follows.
    pub fn note(&mut self, line: &str, at: Timestamp) {
        self.push(Stream::Stdout, format!("{line}\n").as_bytes(), at);
    }

    /// Bytes that wait to be sent.
    pub fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// What can be sent now.
    pub fn take_ready(&mut self) -> Vec<Chunk> {
        self.ready_bytes = 0;
        std::mem::take(&mut self.ready)
    }

    /// The end of the output: what is left to send, and how many bytes were cut.
    pub fn finish(mut self, at: Timestamp) -> (Vec<Chunk>, u64) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[stream as usize]);
            if !rest.is_empty() {
                self.keep(stream, &rest, at);
            }
        }
        let mut chunks = self.take_ready();
        if self.cut_bytes > 0 {
            let text = format!("[... {} bytes cut ...]\n", self.cut_bytes).into_bytes();
            let at = self.tail.front().map_or(at, |(chunk, _)| chunk.at);
            chunks.push(Chunk { at, stream: Stream::Stdout, text });
        }
        for (chunk, mut in_key) in std::mem::take(&mut self.tail) {
            let text = self.masker.mask(&chunk.text, &mut in_key).into_owned();
            chunks.push(Chunk { text, ..chunk });
        }
        (chunks, self.cut_bytes)
    }

    fn keep(&mut self, stream: Stream, text: &[u8], at: Timestamp) {
        if text.is_empty() {
            return;
        }
        if text.len() <= self.head_left && self.tail.is_empty() {
            self.head_left -= text.len();
            self.keep_head(stream, text, at);
        } else {
            self.head_left = 0;
            self.keep_tail(stream, text, at);
        }
    }

    fn keep_head(&mut self, stream: Stream, text: &[u8], at: Timestamp) {
        let text = self.masker.mask(text, &mut self.in_key[stream as usize]);
        self.ready_bytes += text.len();
        match self.ready.last_mut() {
            Some(last) if joins(last, stream, text.len(), at) => last.text.extend_from_slice(&text),
            _ => self.ready.push(Chunk { at, stream, text: text.into_owned() }),
        }
    }

    fn keep_tail(&mut self, stream: Stream, text: &[u8], at: Timestamp) {
        let in_key = self.in_key[stream as usize];
        self.in_key[stream as usize] = self.masker.in_key_after(in_key, text);
        self.tail_bytes += text.len();
        match self.tail.back_mut() {
            Some((last, _)) if joins(last, stream, text.len(), at) => {
                last.text.extend_from_slice(text);
            }
            _ => self.tail.push_back((Chunk { at, stream, text: text.to_vec() }, in_key)),
        }
        while self.tail_bytes > TAIL_BYTES_MAX {
            let Some((chunk, _)) = self.tail.pop_front() else { break };
            self.tail_bytes -= chunk.text.len();
            self.cut_bytes += chunk.text.len() as u64;
        }
    }
}

/// Where to cut a long line: behind the last byte that no token contains, so that no secret is cut
/// in two, else at the limit.
fn word_end(line: &[u8]) -> usize {
    let from = line.len().saturating_sub(WORD_BYTES_MAX);
    let between = |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b';' | b'"' | b'\'');
    line[from..].iter().rposition(between).map_or(line.len(), |i| from + i + 1)
}

fn joins(last: &Chunk, stream: Stream, bytes: usize, at: Timestamp) -> bool {
    last.stream == stream
        && last.text.len() + bytes <= PIECE_BYTES_MAX
        && at.since_ms(last.at) <= SAME_CHUNK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chunks: &[Chunk]) -> Vec<u8> {
        chunks.iter().flat_map(|c| c.text.clone()).collect()
    }

    fn output() -> Output {
        Output::new(Masker::new(["hidden-value"]))
    }

    #[test]
    fn lines_come_whole_and_in_order() {
        let mut o = output();
        o.push(Stream::Stdout, b"one\ntw", Timestamp(1));
        o.push(Stream::Stderr, b"warn\n", Timestamp(2));
        o.push(Stream::Stdout, b"o\nthree", Timestamp(3));
        let (chunks, cut) = o.finish(Timestamp(4));
        assert_eq!(text(&chunks), b"one\nwarn\ntwo\nthree");
        assert_eq!(chunks[1].stream, Stream::Stderr);
        assert_eq!(cut, 0);
    }

    #[test]
    fn a_secret_in_two_writes_is_masked() {
        let mut o = output();
        o.push(Stream::Stdout, b"x hidden-", Timestamp(1));
        o.push(Stream::Stdout, b"value y\n", Timestamp(1));
        assert_eq!(text(&o.finish(Timestamp(1)).0), b"x *** y\n");
    }

    #[test]
    fn a_secret_anywhere_in_a_line_of_twenty_megabytes_is_masked() {
        // The length of what stands between is none that pieces or reads share.
        let unit = [vec![b'z'; 4_999], b"hidden-value".to_vec()].concat();
        let line: Vec<u8> = unit.iter().copied().cycle().take(20_000_000).collect();
        let mut o = output();
        for part in line.chunks(65_536) {
            o.push(Stream::Stdout, part, Timestamp(1));
        }
        let head = text(&o.take_ready());
        let kept = [head, text(&o.finish(Timestamp(2)).0)].concat();
        assert!(kept.len() > 1_000_000);
        let plain = kept.windows(12).filter(|w| *w == b"hidden-value").count();
        let halves = kept.windows(7).filter(|w| *w == b"hidden-").count();
        assert_eq!((plain, halves), (0, 0));
    }

    #[test]
    fn a_secret_in_writes_of_one_byte_with_colours_is_masked() {
        let mut o = output();
        for byte in b"x hid\x1b[1mden\x1b[0m-value y\n" {
            o.push(Stream::Stdout, &[*byte], Timestamp(1));
        }
        assert_eq!(text(&o.finish(Timestamp(1)).0), b"x *** y\n");
    }

    #[test]
    fn the_middle_is_cut_and_counted() {
        let mut o = output();
        let line = [vec![b'x'; 99], vec![b'\n']].concat();
        let lines = 200_000usize;
        for _ in 0..lines {
            o.push(Stream::Stdout, &line, Timestamp(1));
        }
        let head = text(&o.take_ready()).len();
        let (chunks, cut) = o.finish(Timestamp(2));
        let marker = format!("[... {cut} bytes cut ...]\n").into_bytes();
        assert_eq!(chunks[0].text, marker);
        let kept = head + text(&chunks).len() - marker.len();
        assert_eq!(kept as u64 + cut, (lines * line.len()) as u64);
        assert!(kept <= LOG_BYTES_MAX && kept > LOG_BYTES_MAX - 2 * PIECE_BYTES_MAX);
    }

    #[test]
    fn a_line_of_ten_megabytes_is_cut_into_pieces() {
        let mut o = output();
        for _ in 0..160 {
            o.push(Stream::Stdout, &vec![b'y'; 65_536], Timestamp(1));
        }
        let (chunks, cut) = o.finish(Timestamp(1));
        assert!(chunks.iter().all(|c| c.text.len() <= PIECE_BYTES_MAX));
        assert!(cut > 0);
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_as_they_are() {
        let mut o = output();
        let bytes = [0u8, 255, 27, b'[', b'3', b'1', b'm', 10, 13, 7];
        o.push(Stream::Stdout, &bytes, Timestamp(1));
        assert_eq!(text(&o.finish(Timestamp(1)).0), bytes);
    }
}
