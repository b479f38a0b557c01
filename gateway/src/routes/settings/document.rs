//! Documents with settings. Everything that is wrong with one is named at once, each with its value
//! and what was expected.

use crate::body::Payload;
use crate::problem::{At, Entry, Problem, pointer, shown};
use meta_domain::fault::InvalidField;
use meta_domain::settings::{
    BACKOFF_CAP_SECONDS, Overrides, PER_STEP_ATTEMPTS, Rollout, Rollouts, Setting, TOTAL_ATTEMPTS,
    Value,
};
use serde_json::{Map, Value as Json};

/// Bytes of a document with settings, which is four values long.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Faults that an error names at most.
const FAULTS_MAX: usize = 20;
const PERCENT: &str = "percent";
const BUCKET_KEY: &str = "bucket_key";

/// An override whose values are in range.
pub(super) fn overrides(payload: Payload) -> Result<Overrides, Problem> {
    let mut faults = Faults::default();
    let overrides = typed(&attributes(payload)?, &mut faults);
    for (setting, value) in overrides.iter() {
        faults.take("override_out_of_range", setting.check(value));
    }
    faults.none()?;
    Ok(overrides)
}

/// An override whose values may be out of range.
pub(super) fn overrides_of_any_range(payload: Payload) -> Result<Overrides, Problem> {
    let mut faults = Faults::default();
    let overrides = typed(&attributes(payload)?, &mut faults);
    faults.none()?;
    Ok(overrides)
}

/// Rollouts by their settings: `{"max_total_attempts": {"value": 4, "percent": 25}}`.
pub(super) fn rollouts(payload: Payload) -> Result<Rollouts, Problem> {
    let mut faults = Faults::default();
    let mut rollouts = Rollouts::new();
    for (name, document) in &attributes(payload)? {
        let Some(setting) = setting(name, &mut faults) else { continue };
        if let Some(rollout) = rollout(setting, document, &mut faults) {
            rollouts.insert(setting, rollout);
        }
    }
    faults.none()?;
    Ok(rollouts)
}

fn attributes(payload: Payload) -> Result<Map<String, Json>, Problem> {
    match payload.at_most(DOCUMENT_BYTES_MAX)?.attributes()? {
        Json::Object(attributes) => Ok(attributes),
        _ => Err(Problem::bad("invalid_document", "the attributes are not an object")),
    }
}

fn typed(attributes: &Map<String, Json>, faults: &mut Faults) -> Overrides {
    let value = |(name, json): (&String, &Json)| {
        let setting = setting(name, faults)?;
        let value = value(setting, setting.as_str(), json);
        Some((setting, faults.take("invalid_field", value)?))
    };
    attributes.iter().filter_map(value).collect()
}

fn setting(name: &str, faults: &mut Faults) -> Option<Setting> {
    let found = Setting::ALL.iter().copied().find(|s| s.as_str() == name);
    if found.is_none() {
        let all: Vec<_> = Setting::ALL.iter().map(|s| s.as_str()).collect();
        let problem = format!("is not a setting (expected some of {})", all.join(", "));
        faults.unknown(pointer(""), name, &problem);
    }
    found
}

fn value(setting: Setting, path: &str, json: &Json) -> Result<Value, InvalidField> {
    let fitting = match json {
        Json::Bool(v) if setting == Setting::AutofixEnabled => Some(Value::Bool(*v)),
        Json::Number(v) if setting != Setting::AutofixEnabled => {
            v.as_u64().and_then(|v| u32::try_from(v).ok()).map(Value::Int)
        }
        _ => None,
    };
    fitting.ok_or_else(|| unfit(path, json, &expected(setting)))
}

fn unfit(path: &str, json: &Json, expected: &str) -> InvalidField {
    let what = match json {
        Json::Null => "null".to_owned(),
        Json::Bool(v) => v.to_string(),
        Json::Number(v) => v.to_string(),
        Json::String(v) => format!("the text {}", shown(v)),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    };
    InvalidField::new(path, format!("{what} is not valid (expected {expected})"))
}

fn expected(setting: Setting) -> String {
    let range = match setting {
        Setting::AutofixEnabled => return "true or false".to_owned(),
        Setting::MaxTotalAttempts => TOTAL_ATTEMPTS,
        Setting::MaxPerStepAttempts => PER_STEP_ATTEMPTS,
        Setting::BackoffCapSeconds => BACKOFF_CAP_SECONDS,
    };
    format!("a whole number from {} to {}", range.start(), range.end())
}

/// A rollout as far as it could be read; what could not is among the faults.
fn rollout(setting: Setting, json: &Json, faults: &mut Faults) -> Option<Rollout> {
    let name = setting.as_str();
    let Json::Object(fields) = json else {
        let expected = "an object with value, percent and perhaps bucket_key";
        return faults.take("invalid_field", Err(unfit(name, json, expected)));
    };
    let known = ["value", PERCENT, BUCKET_KEY];
    for field in fields.keys().filter(|f| !known.contains(&f.as_str())) {
        let problem = "is not known here (expected value, percent and perhaps bucket_key)";
        faults.unknown(pointer(name), field, problem);
    }
    let at = |field: &str| format!("{name}.{field}");
    let missing = |field: &str| Err(InvalidField::new(at(field), "is missing (expected a value)"));
    let value = fields.get("value").map_or_else(
        || missing("value").map(|()| Value::Bool(false)),
        |json| value(setting, &at("value"), json),
    );
    let percent = fields.get(PERCENT).map_or_else(
        || missing(PERCENT).map(|()| 0),
        |json| {
            let number = json.as_u64().and_then(|v| u8::try_from(v).ok()).filter(|v| *v <= 100);
            number.ok_or_else(|| unfit(&at(PERCENT), json, "a whole number from 0 to 100"))
        },
    );
    let bucket_key = match fields.get(BUCKET_KEY) {
        None => Ok(name.to_owned()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(json) => Err(unfit(&at(BUCKET_KEY), json, "a text")),
    };
    let value = faults.take("invalid_field", value);
    let percent = faults.take("invalid_field", percent);
    let bucket_key = faults.take("invalid_field", bucket_key);
    let read = Rollout {
        value: value.unwrap_or(Value::Bool(false)),
        percent: percent.unwrap_or(0),
        bucket_key: bucket_key.unwrap_or_else(|| name.to_owned()),
    };
    for fault in read.check(setting).err().unwrap_or_default() {
        let field = if fault.path == name { "value" } else { fault.path.as_str() };
        if field != "value" || value.is_some() {
            let fault = InvalidField::new(at(field), fault.problem.clone());
            faults.take("override_out_of_range", Err::<(), _>(fault));
        }
    }
    Some(read)
}

/// What is wrong so far.
#[derive(Default)]
struct Faults(Vec<Entry>);

impl Faults {
    fn take<T>(&mut self, code: &str, result: Result<T, InvalidField>) -> Option<T> {
        result.map_err(|field| self.0.push(Entry::of_field(code, &field))).ok()
    }

    /// A name that nothing has. It is the caller's text, so it is cut before it is repeated.
    fn unknown(&mut self, parent: String, name: &str, problem: &str) {
        let cut: String = name.chars().take(80).collect();
        let place = cut.replace('~', "~0").replace('/', "~1");
        self.0.push(Entry {
            code: "unknown_field".to_owned(),
            detail: format!("{} {problem}", shown(name)),
            at: Some(At::Pointer(format!("{parent}/{place}"))),
        });
    }

    fn none(mut self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let more = self.0.len().saturating_sub(FAULTS_MAX);
        self.0.truncate(FAULTS_MAX);
        if more > 0 {
            let detail = format!("{more} more faults are not named");
            self.0.push(Entry { code: "invalid_document".to_owned(), detail, at: None });
        }
        Err(Problem::entries(self.0))
    }
}
