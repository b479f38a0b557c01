//! A log's lines as text with colours. What a terminal would obey and a page must not - moving the
//! cursor, setting titles, links and the clipboard, ringing - is dropped.

/// Characters of one line that are shown at most.
pub(crate) const LINE_CHARS_MAX: usize = 4_000;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    reversed: bool,
    /// Foreground: 0 to 7, or 8 to 15 for the bright ones.
    fore: Option<u8>,
    back: Option<u8>,
}

impl Look {
    /// The names of its classes in the style sheet; empty for plain text.
    pub(crate) fn classes(self) -> String {
        let mut names = Vec::new();
        let flags = [
            (self.bold, "b"),
            (self.dim, "d"),
            (self.italic, "i"),
            (self.underlined, "u"),
            (self.reversed, "r"),
        ];
        names.extend(flags.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned()));
        names.extend(self.fore.map(|n| format!("f{n}")));
        names.extend(self.back.map(|n| format!("g{n}")));
        names.join(" ")
    }
}

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) look: Look,
    pub(crate) text: String,
}

/// Reads lines one after the other; the look goes on from one line to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reader {
    look: Look,
}

impl Reader {
    /// The pieces of a line, given without its `\n`. Of text that a `\r` overwrote only the last is
    /// left, as a terminal leaves it.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let text = String::from_utf8_lossy(bytes);
        let mut out = Line::default();
        let mut rest = text.chars().peekable();
        let mut overwrite = false;
        while let Some(c) = rest.next() {
            match c {
                '\u{1b}' => self.escape(&mut rest),
                '\u{9b}' => self.control(&mut rest),
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut rest),
                '\r' => overwrite = true,
                '\t' => out.push(self.look, "    "),
                c if is_dropped(c) => {}
                c => {
                    if std::mem::take(&mut overwrite) {
                        out = Line::default();
                    }
                    out.push(self.look, c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        out.pieces()
    }

    /// What follows ESC.
    fn escape(&mut self, rest: &mut Chars) {
        match rest.next_if(|c| !c.is_control()) {
            Some('[') => self.control(rest),
            Some(']' | 'P' | 'X' | '^' | '_') => skip_string(rest),
            // Intermediates go on until the final character.
            Some(' '..='/') => {
                while rest.next_if(|c| (' '..='/').contains(c)).is_some() {}
                rest.next_if(|c| ('0'..='~').contains(c));
            }
            Some(_) | None => {}
        }
    }

    /// What follows CSI: only colours and the like (`m`) mean something here.
    fn control(&mut self, rest: &mut Chars) {
        let mut parameters = String::new();
        while let Some(c) = rest.next_if(|c| (' '..='?').contains(c)) {
            parameters.push(c);
        }
        if rest.next_if(|c| ('@'..='~').contains(c)) == Some('m') {
            self.render(&parameters);
        }
    }

    fn render(&mut self, parameters: &str) {
        let plain = |c: char| c.is_ascii_digit() || c == ';' || c == ':';
        if !parameters.chars().all(plain) {
            return;
        }
        let mut codes =
            parameters.split([';', ':']).map(|n| n.parse::<u32>().unwrap_or(0)).peekable();
        while let Some(code) = codes.next() {
            match code {
                0 => self.look = Look::default(),
                1 => self.look.bold = true,
                2 => self.look.dim = true,
                3 => self.look.italic = true,
                4 => self.look.underlined = true,
                7 => self.look.reversed = true,
                22 => (self.look.bold, self.look.dim) = (false, false),
                23 => self.look.italic = false,
                24 => self.look.underlined = false,
                27 => self.look.reversed = false,
                30..=37 => self.look.fore = small(code - 30),
                38 => self.look.fore = colour(&mut codes),
                39 => self.look.fore = None,
                40..=47 => self.look.back = small(code - 40),
                48 => self.look.back = colour(&mut codes),
                49 => self.look.back = None,
                90..=97 => self.look.fore = small(code - 90 + 8),
                100..=107 => self.look.back = small(code - 100 + 8),
                _ => {}
            }
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips until the string's end: BEL, ST, or the line's end.
fn skip_string(rest: &mut Chars) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                rest.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

/// Controls, and what turns the direction of text or hides in it.
fn is_dropped(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2060}'..='\u{206f}').contains(&c)
}

fn small(n: u32) -> Option<u8> {
    u8::try_from(n).ok().filter(|n| *n < 16)
}

/// One of the sixteen for a colour of 256, or of red, green and blue.
fn colour(codes: &mut impl Iterator<Item = u32>) -> Option<u8> {
    match codes.next()? {
        5 => match codes.next()? {
            n @ 0..=15 => small(n),
            n @ 16..=231 => {
                let level = |n: u32| if n == 0 { 0 } else { 55 + n * 40 };
                let n = n - 16;
                Some(nearest(level(n / 36), level(n / 6 % 6), level(n % 6)))
            }
            n @ 232..=255 => {
                let grey = 8 + (n - 232) * 10;
                Some(nearest(grey, grey, grey))
            }
            _ => None,
        },
        2 => {
            let (red, green, blue) = (codes.next()?, codes.next()?, codes.next()?);
            Some(nearest(red.min(255), green.min(255), blue.min(255)))
        }
        _ => None,
    }
}

fn nearest(red: u32, green: u32, blue: u32) -> u8 {
    let most = red.max(green).max(blue);
    let least = red.min(green).min(blue);
    if most - least < 40 {
        return match most {
            0..=60 => 0,
            61..=140 => 8,
            141..=210 => 7,
            _ => 15,
        };
    }
    let middle = u32::midpoint(most, least);
    let hue =
        u8::from(red > middle) | (u8::from(green > middle) << 1) | (u8::from(blue > middle) << 2);
    if most > 190 { hue + 8 } else { hue }
}

#[derive(Default)]
struct Line {
    pieces: Vec<Piece>,
    chars: usize,
    left_out: usize,
}

impl Line {
    fn push(&mut self, look: Look, text: &str) {
        if self.chars >= LINE_CHARS_MAX {
            self.left_out += 1;
            return;
        }
        self.chars += 1;
        match self.pieces.last_mut() {
            Some(last) if last.look == look => last.text.push_str(text),
            _ => self.pieces.push(Piece { look, text: text.to_owned() }),
        }
    }

    fn pieces(mut self) -> Vec<Piece> {
        if self.left_out > 0 {
            let text = format!(" … {} more characters", self.left_out);
            self.pieces.push(Piece { look: Look { dim: true, ..Look::default() }, text });
        }
        self.pieces
    }
}

/// A text of one line without anything that a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    Reader::default().line(text.as_bytes()).into_iter().map(|piece| piece.text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> String {
        Reader::default()
            .line(bytes)
            .iter()
            .map(|p| match p.look.classes().as_str() {
                "" => p.text.clone(),
                classes => format!("<{classes}>{}</>", p.text),
            })
            .collect()
    }

    #[test]
    fn colours_become_classes() {
        assert_eq!(told(b"a \x1b[1;31mred\x1b[0m b"), "a <b f1>red</> b");
        assert_eq!(told(b"\x1b[38;5;196mx\x1b[39my"), "<f9>x</>y");
        assert_eq!(told(b"\x1b[38;2;10;200;10mx"), "<f10>x</>");
        assert_eq!(told(b"\x1b[48;5;4;97mx\x1b[mz"), "<f15 g4>x</>z");
        assert_eq!(told("\u{9b}32mx".as_bytes()), "<f2>x</>");
    }

    #[test]
    fn the_look_goes_on_in_the_next_line() {
        let mut reader = Reader::default();
        reader.line(b"\x1b[33mone");
        assert_eq!(reader.line(b"two")[0].look.classes(), "f3");
    }

    #[test]
    fn what_a_terminal_would_obey_is_dropped() {
        for (bytes, expected) in [
            (&b"a\x07b\x08c\x00d\x7f"[..], "abcd"),
            (b"\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b]52;c;aGk=\x07x", "x"),
            (b"\x1b]0;title\x9c still the title", ""),
            (b"\x1bPq#0;2;0;0;0\x1b\\x", "x"),
            (b"\x1b[2J\x1b[1;1Hx\x1b[?25l\x1b[K", "x"),
            (b"\x1b(Bx\x1b7\x1bcy", "xy"),
            (b"10%\r50%\r100%\r", "100%"),
            (b"x\xff\xfey", "x\u{fffd}\u{fffd}y"),
            (b"\x1b", ""),
            (b"\x1b[", ""),
            (b"\x1b[31", ""),
        ] {
            assert_eq!(told(bytes), expected, "{bytes:?}");
        }
        assert_eq!(told("a\u{202e}b\u{2066}c\u{200b}".as_bytes()), "abc");
        assert_eq!(told("a\u{9d}8;;x\u{9c}b".as_bytes()), "ab");
    }

    #[test]
    fn a_line_is_cut() {
        let line = "x".repeat(LINE_CHARS_MAX + 7);
        let shown = told(line.as_bytes());
        assert!(shown.ends_with("<d> … 7 more characters</>"), "{}", &shown[LINE_CHARS_MAX..]);
    }

    #[test]
    fn whatever_comes_nothing_of_it_is_a_control() {
        let mut state = 7_u32;
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let byte = state.to_be_bytes()[0];
                    if byte < 60 { b"\x1b[]m;\x07\r38P\\"[usize::from(byte % 11)] } else { byte }
                })
                .collect();
            let shown: String =
                Reader::default().line(&bytes).into_iter().map(|p| p.text).collect();
            assert!(!shown.chars().any(char::is_control), "{bytes:?}");
        }
    }
}
