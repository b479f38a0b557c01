//! From a URL to a store.

use crate::secrets::Secrets;
use meta_domain::fault::InvalidField;
use meta_domain::secrecy::{MASK, shown_address};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The setting that names a store, as errors call it.
pub const FIELD: &str = "objects";

const EXPECTED: &str = "expected a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix, \
                        az://container/prefix, or memory:";

/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long one request may take; a part of a large object is one request.
const REQUEST_LIMIT: Duration = Duration::from_mins(1);
/// How often a request is tried again.
const RETRIES_MAX: usize = 6;
/// How long it is tried again.
const RETRY_LIMIT: Duration = Duration::from_secs(45);
/// The first wait between two tries.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// How much longer each wait is than the one before.
const BACKOFF_BASE: f64 = 2.0;

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Its URL as it may be shown.
    pub(crate) shown: String,
    pub(crate) secrets: Secrets,
    /// Where it is, when it is a folder of this machine.
    pub(crate) folder: Option<PathBuf>,
}

/// Opens the store that `text` names, with the variables of this process.
pub(crate) fn open(text: &str, vars: &BTreeMap<String, String>) -> Result<Opened, InvalidField> {
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("", "is empty"));
    }
    if !text.contains(':') {
        return folder(FilePath::new(text));
    }
    let url = Url::parse(text).map_err(|e| invalid(text, &format!("is not a URL: {e}")))?;
    let secrets = Secrets::of(vars, Some(&url));
    let store = match url.scheme() {
        "file" => {
            let path = url.to_file_path();
            return folder(&path.map_err(|()| invalid(text, "has no absolute path"))?);
        }
        "memory" => Arc::new(InMemory::new()),
        "s3" | "s3a" => within(s3(&url, vars, &secrets)?, &url)?,
        "gs" => within(google(&url, vars, &secrets)?, &url)?,
        "az" | "azure" | "abfs" | "abfss" => within(azure(&url, vars, &secrets)?, &url)?,
        _ => return Err(invalid(text, "has a scheme that is not known")),
    };
    Ok(Opened { store, shown: shown(text), secrets, folder: None })
}

fn s3(
    url: &Url,
    vars: &BTreeMap<String, String>,
    secrets: &Secrets,
) -> Result<impl ObjectStore + use<>, InvalidField> {
    let options = options(vars, "AWS_");
    let builder = AmazonS3Builder::new()
        .with_url(url.as_str())
        .with_client_options(client(&options))
        .with_retry(retry())
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    given(builder, options, AmazonS3Builder::with_config)
        .build()
        .map_err(|e| unfit(url, &e, secrets))
}

fn google(
    url: &Url,
    vars: &BTreeMap<String, String>,
    secrets: &Secrets,
) -> Result<impl ObjectStore + use<>, InvalidField> {
    let options = options(vars, "GOOGLE_");
    let builder = GoogleCloudStorageBuilder::new()
        .with_url(url.as_str())
        .with_client_options(client(&options))
        .with_retry(retry());
    given(builder, options, GoogleCloudStorageBuilder::with_config)
        .build()
        .map_err(|e| unfit(url, &e, secrets))
}

fn azure(
    url: &Url,
    vars: &BTreeMap<String, String>,
    secrets: &Secrets,
) -> Result<impl ObjectStore + use<>, InvalidField> {
    let options = options(vars, "AZURE_");
    let builder = MicrosoftAzureBuilder::new()
        .with_url(url.as_str())
        .with_client_options(client(&options))
        .with_retry(retry());
    given(builder, options, MicrosoftAzureBuilder::with_config)
        .build()
        .map_err(|e| unfit(url, &e, secrets))
}

/// The variables of a provider, named as its builder names them.
fn options(vars: &BTreeMap<String, String>, prefix: &str) -> BTreeMap<String, String> {
    vars.iter()
        .filter(|(name, value)| name.starts_with(prefix) && !value.is_empty())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect()
}

/// The builder with those options that it knows; others of the same prefix are somebody else's.
fn given<B, K: FromStr>(
    builder: B,
    options: BTreeMap<String, String>,
    with: impl Fn(B, K, String) -> B,
) -> B {
    options.into_iter().fold(builder, |builder, (name, value)| match name.parse::<K>() {
        Ok(key) => with(builder, key, value),
        Err(_) => builder,
    })
}

/// Plain HTTP only where an endpoint of one's own says so.
fn client(options: &BTreeMap<String, String>) -> ClientOptions {
    let plain = options.iter().any(|(name, value)| {
        name.contains("endpoint") && value.to_ascii_lowercase().starts_with("http://")
    });
    ClientOptions::new()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_timeout(REQUEST_LIMIT)
        .with_allow_http(plain)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: BACKOFF_FIRST,
            max_backoff: BACKOFF_MAX,
            base: BACKOFF_BASE,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_LIMIT,
    }
}

/// Keys are below the URL's path.
fn within(store: impl ObjectStore, url: &Url) -> Result<Arc<dyn ObjectStore>, InvalidField> {
    let prefix = Path::from_url_path(url.path())
        .map_err(|e| invalid(url.as_str(), &format!("has a path that cannot be a key: {e}")))?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

/// A folder of this machine, made where it is missing. What is acknowledged is on the disk.
fn folder(path: &FilePath) -> Result<Opened, InvalidField> {
    let shown = path.display().to_string();
    let bad = |why: String| invalid(&shown, &why);
    std::fs::create_dir_all(path).map_err(|e| bad(format!("cannot be made: {e}")))?;
    let path: PathBuf = path.canonicalize().map_err(|e| bad(format!("cannot be resolved: {e}")))?;
    let store = LocalFileSystem::new_with_prefix(&path)
        .map_err(|e| bad(format!("cannot be opened: {e}")))?
        .with_fsync(true)
        .with_automatic_cleanup(true);
    let secrets = Secrets::default();
    Ok(Opened { store: Arc::new(store), shown, secrets, folder: Some(path) })
}

fn unfit(url: &Url, error: &object_store::Error, secrets: &Secrets) -> InvalidField {
    let why = secrets.hidden(&error.to_string());
    invalid(url.as_str(), &format!("cannot be opened: {why}"))
}

fn invalid(text: &str, problem: &str) -> InvalidField {
    InvalidField::new(FIELD, format!("{:?} {problem} ({EXPECTED})", shown(text)))
}

/// A URL as it may be shown: without its user, password and query.
fn shown(text: &str) -> String {
    let shown = shown_address(text);
    match shown.split_once('?') {
        Some((before, _)) => format!("{before}?{MASK}"),
        None => shown,
    }
}
