//! The model's endpoint: any that speaks the chat completions of OpenAI. Its key is read for each call
//! and stands in no message of ours.

use meta_domain::fault::InvalidField;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Time limit of a call unless the operator says otherwise, in seconds.
const TIMEOUT_SECONDS_DEFAULT: u64 = 120;
/// Budget of a prompt unless the operator says otherwise, in tokens.
const PROMPT_TOKENS_DEFAULT: usize = 24_000;
/// Budget of an answer unless the operator says otherwise, in tokens.
const ANSWER_TOKENS_DEFAULT: usize = 8_192;
/// Wait that is asked for when a busy endpoint names none, in milliseconds.
const BUSY_MS_DEFAULT: u64 = 5_000;
/// Wait that is asked for after an endpoint did not answer in time, in seconds.
const SLOW_SECONDS: f64 = 30.0;
/// Longest wait that is taken over from an endpoint, in milliseconds.
const BUSY_MS_MAX: u64 = 300_000;
/// Largest key that is read from a file, in bytes.
const KEY_BYTES_MAX: u64 = 16 * 1024;

/// Where a model is asked, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) url: Url,
    pub(crate) model: String,
    pub(crate) key: Key,
    pub(crate) timeout: Duration,
    pub(crate) prompt_tokens: usize,
    pub(crate) answer_tokens: usize,
    pub(crate) approval_always: bool,
}

/// Where the key is: never the key itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    /// The value of a variable, as it was at the start.
    Variable(String),
    /// The first line of a file, read for each call so that it can be renewed.
    File(PathBuf),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Variable(_) => "variable",
            Self::File(_) => "file",
        })
    }
}

impl Settings {
    /// What the `METABUILDER_LLM_*` variables say; `None` without a base URL.
    ///
    /// # Errors
    /// Every variable that is not valid, at once.
    pub(crate) fn from_vars(
        vars: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, Vec<InvalidField>> {
        let var = |name: &str| {
            let name = format!("METABUILDER_LLM_{name}");
            vars.get(&name).map(|v| v.trim()).filter(|v| !v.is_empty())
        };
        let Some(base) = var("BASE_URL") else { return Ok(None) };
        let mut faults = Vec::new();
        let mut fault = |name: &str, problem: String| {
            faults.push(InvalidField::new(format!("METABUILDER_LLM_{name}"), problem));
        };
        let url = address(base).map_err(|problem| fault("BASE_URL", problem)).ok();
        let model = var("MODEL").map(str::to_owned);
        if model.is_none() {
            fault("MODEL", "is missing (expected the name of a model)".to_owned());
        }
        let key = key(var("API_KEY_ENV"), var("API_KEY_FILE"), vars)
            .map_err(|(name, problem)| fault(name, problem))
            .ok();
        let mut number =
            |name: &str, default: u64, range: std::ops::RangeInclusive<u64>| match var(name)
                .map(str::parse::<u64>)
            {
                None => default,
                Some(Ok(n)) if range.contains(&n) => n,
                Some(_) => {
                    let (start, end) = (range.start(), range.end());
                    fault(
                        name,
                        format!("{:?} is not valid (expected {start} to {end})", var(name)),
                    );
                    default
                }
            };
        let timeout = number("TIMEOUT_SECONDS", TIMEOUT_SECONDS_DEFAULT, 1..=600);
        let prompt = number("PROMPT_TOKENS", PROMPT_TOKENS_DEFAULT as u64, 2_000..=1_000_000);
        let answer = number("ANSWER_TOKENS", ANSWER_TOKENS_DEFAULT as u64, 256..=100_000);
        let approval_always = match var("APPROVAL") {
            None | Some("always") => true,
            Some("manifests_and_migrations") => false,
            Some(other) => {
                let expected = "expected always or manifests_and_migrations";
                fault("APPROVAL", format!("{other:?} is not valid ({expected})"));
                true
            }
        };
        match (url, model, key) {
            (Some(url), Some(model), Some(key)) if faults.is_empty() => Ok(Some(Self {
                url,
                model,
                key,
                timeout: Duration::from_secs(timeout),
                prompt_tokens: usize::try_from(prompt).unwrap_or(PROMPT_TOKENS_DEFAULT),
                answer_tokens: usize::try_from(answer).unwrap_or(ANSWER_TOKENS_DEFAULT),
                approval_always,
            })),
            _ => Err(faults),
        }
    }
}

/// The address of the chat completions below a base URL.
fn address(base: &str) -> Result<Url, String> {
    let expected = "expected an address such as https://host/v1";
    let mut url = Url::parse(base).map_err(|e| format!("is not an address: {e} ({expected})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("does not begin with http:// or https:// ({expected})"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a credential (expected METABUILDER_LLM_API_KEY_ENV or _FILE)".to_owned());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let version = |part: &str| {
        part.strip_prefix('v').is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
    };
    let full = if path.ends_with("/chat/completions") {
        path
    } else if path.rsplit('/').next().is_some_and(version) {
        format!("{path}/chat/completions")
    } else {
        format!("{path}/v1/chat/completions")
    };
    url.set_path(&full);
    Ok(url)
}

fn key(
    env: Option<&str>,
    file: Option<&str>,
    vars: &BTreeMap<String, String>,
) -> Result<Key, (&'static str, String)> {
    match (env, file) {
        (None, None) => Ok(Key::None),
        (Some(_), Some(_)) => {
            Err(("API_KEY_ENV", "stands beside API_KEY_FILE (expected one of them)".to_owned()))
        }
        (Some(name), None) => match vars.get(name).filter(|v| !v.trim().is_empty()) {
            Some(value) => Ok(Key::Variable(value.trim().to_owned())),
            None => Err((
                "API_KEY_ENV",
                "names a variable that is not set (expected the name of the variable that holds \
                 the key)"
                    .to_owned(),
            )),
        },
        (None, Some(path)) => Ok(Key::File(path.into())),
    }
}

/// Calls the endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    http: reqwest::Client,
    pub(crate) settings: Settings,
}

/// One message of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) role: &'static str,
    pub(crate) content: String,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The model answered.
    Text { text: String, cut_off: bool, tokens_in: u64, tokens_out: u64 },
    /// The endpoint is busy or away.
    Busy { retry_after_ms: u64, reason: String },
    /// The endpoint refuses, or answers with what is no chat completion.
    Refused(String),
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Endpoint {
    /// # Errors
    /// When no client can be made.
    pub(crate) fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(settings.timeout);
        let host = settings.url.host_str().unwrap_or_default();
        if matches!(host, "127.0.0.1" | "[::1]" | "localhost") {
            client = client.no_proxy();
        }
        Ok(Self { http: client.build()?, settings })
    }

    /// Asks once.
    pub(crate) async fn ask(&self, messages: &[Message]) -> Answer {
        let messages: Vec<_> =
            messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect();
        let body = json!({
            "model": self.settings.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self.settings.answer_tokens,
            "stream": false,
        });
        let mut request = self.http.post(self.settings.url.clone()).json(&body);
        match self.secret().await {
            Ok(Some(secret)) => request = request.bearer_auth(secret),
            Ok(None) => {}
            Err(problem) => return Answer::Refused(problem),
        }
        match request.send().await {
            Ok(response) => self.read(response).await,
            // The error's own text may hold the address; its kind is enough.
            Err(error) if error.is_timeout() => {
                busy(Some(SLOW_SECONDS), "the endpoint did not answer in time")
            }
            Err(error) if error.is_connect() => busy(None, "the endpoint cannot be reached"),
            Err(_) => busy(None, "the call of the endpoint failed"),
        }
    }

    async fn secret(&self) -> Result<Option<String>, String> {
        match &self.settings.key {
            Key::None => Ok(None),
            Key::Variable(value) => Ok(Some(value.clone())),
            Key::File(path) => {
                let unreadable =
                    |why: String| format!("METABUILDER_LLM_API_KEY_FILE: {} {why}", path.display());
                let size =
                    tokio::fs::metadata(path).await.map_err(|e| unreadable(e.to_string()))?;
                if size.len() > KEY_BYTES_MAX {
                    return Err(unreadable(format!("has more than {KEY_BYTES_MAX} bytes")));
                }
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|e| unreadable(e.to_string()))?;
                let first = text.lines().next().unwrap_or_default().trim().to_owned();
                if first.is_empty() {
                    Err(unreadable("is empty".to_owned()))
                } else {
                    Ok(Some(first))
                }
            }
        }
    }

    async fn read(&self, mut response: reqwest::Response) -> Answer {
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS
            || status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
        {
            let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
            let seconds = after.and_then(|v| v.trim().parse::<f64>().ok());
            return busy(seconds, &format!("the endpoint answered {status}"));
        }
        if !status.is_success() {
            return Answer::Refused(format!("the endpoint answered {status}"));
        }
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => return busy(None, "the endpoint's answer broke off"),
            }
            if bytes.len() > ANSWER_BYTES_MAX {
                let problem =
                    format!("the endpoint's answer has more than {ANSWER_BYTES_MAX} bytes");
                return Answer::Refused(problem);
            }
        }
        let Ok(completion) = serde_json::from_slice::<Completion>(&bytes) else {
            return Answer::Refused("the endpoint's answer is no chat completion".to_owned());
        };
        let usage = completion.usage;
        let Some(choice) = completion.choices.into_iter().next() else {
            return Answer::Refused("the endpoint's answer has no choice".to_owned());
        };
        Answer::Text {
            text: choice.message.content.unwrap_or_default(),
            cut_off: choice.finish_reason.as_deref() == Some("length"),
            tokens_in: usage.prompt_tokens,
            tokens_out: usage.completion_tokens,
        }
    }
}

fn busy(seconds: Option<f64>, reason: &str) -> Answer {
    let asked = seconds.and_then(|s| Duration::try_from_secs_f64(s.max(0.0)).ok());
    let ms = asked.map_or(BUSY_MS_DEFAULT, |d| u64::try_from(d.as_millis()).unwrap_or(BUSY_MS_MAX));
    Answer::Busy { retry_after_ms: ms.min(BUSY_MS_MAX), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn without_a_base_url_there_is_no_model() {
        assert!(Settings::from_vars(&vars(&[("METABUILDER_LLM_MODEL", "m")])).unwrap().is_none());
    }

    #[test]
    fn every_fault_is_named_and_no_key_is_shown() {
        let faults = Settings::from_vars(&vars(&[
            ("METABUILDER_LLM_BASE_URL", "https://me:pw@host"),
            ("METABUILDER_LLM_API_KEY_ENV", "ABSENT"),
            ("METABUILDER_LLM_TIMEOUT_SECONDS", "0"),
            ("METABUILDER_LLM_APPROVAL", "never"),
        ]))
        .unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths.len(), 5, "{faults:?}");
        assert!(!format!("{faults:?}").contains("pw@"), "{faults:?}");
        let good = vars(&[
            ("METABUILDER_LLM_BASE_URL", "http://127.0.0.1:9"),
            ("METABUILDER_LLM_MODEL", "m"),
            ("METABUILDER_LLM_API_KEY_ENV", "K"),
            ("K", "very-secret"),
        ]);
        let settings = Settings::from_vars(&good).unwrap().unwrap();
        assert!(settings.approval_always && !format!("{settings:?}").contains("very-secret"));
    }

    #[test]
    fn addresses_end_in_chat_completions() {
        let of = |base: &str| address(base).unwrap().to_string();
        assert_eq!(of("http://h"), "http://h/v1/chat/completions");
        assert_eq!(of("https://h/v1/"), "https://h/v1/chat/completions");
        assert_eq!(of("https://h/api/v2"), "https://h/api/v2/chat/completions");
        assert_eq!(of("https://h/x/chat/completions"), "https://h/x/chat/completions");
        assert!(address("ftp://h").is_err());
    }
}
