//! Which trace something belongs to, as W3C trace context says it.

use std::fmt;
use std::str::FromStr;

/// A place in a trace: what is made from here on has this span as its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// Whether it is recorded.
    pub sampled: bool,
}

/// The text is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTrace;

impl fmt::Display for NoTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "is no trace context (expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>)",
        )
    }
}

impl std::error::Error for NoTrace {}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = NoTrace;

    fn from_str(text: &str) -> Result<Self, NoTrace> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let plain = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            part.bytes().all(plain).then(|| u128::from_str_radix(part, 16).ok())?
        };
        let (version, trace) = (hex(2).ok_or(NoTrace)?, hex(32).ok_or(NoTrace)?);
        let (span, flags) = (hex(16).ok_or(NoTrace)?, hex(2).ok_or(NoTrace)?);
        let span = u64::try_from(span).map_err(|_| NoTrace)?;
        // later versions may add parts
        let more = version == 0 && parts.next().is_some();
        if version == 0xff || more || trace == 0 || span == 0 {
            return Err(NoTrace);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_the_same_after_being_written_and_read() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context: TraceContext = text.parse().unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), text);
        let unsampled = TraceContext { sampled: false, ..context };
        assert_eq!(unsampled.to_string().parse(), Ok(unsampled));
    }

    #[test]
    fn what_is_no_context_is_refused() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NoTrace), "{bad}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra";
        assert!(later.parse::<TraceContext>().is_ok());
    }
}
