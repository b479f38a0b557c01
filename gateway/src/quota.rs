//! How a caller's quota stands, as the orchestrator says it: the `RateLimit` headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const NOW: HeaderName = HeaderName::from_static("ratelimit");

/// The headers; empty where nothing is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    policy: Option<HeaderValue>,
    now: Option<HeaderValue>,
}

impl Quota {
    /// What an answer of the orchestrator says.
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let read = |name: &HeaderName| {
            let value = metadata.get(name.as_str())?;
            HeaderValue::from_bytes(value.as_bytes()).ok()
        };
        Self { policy: read(&POLICY), now: read(&NOW) }
    }

    /// Itself, where something is counted.
    pub(crate) fn said(self) -> Option<Self> {
        (self.policy.is_some() || self.now.is_some()).then_some(self)
    }

    /// Adds it to an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in [(POLICY, &self.policy), (NOW, &self.now)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }
}
