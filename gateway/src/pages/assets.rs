//! The style sheet, the script and the icon: part of the binary, named by what is in them, so that a
//! browser keeps them for good and never uses an old one.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// A file that pages load.
pub(super) struct Asset {
    /// Its address.
    pub(super) path: String,
    media: &'static str,
    bytes: &'static [u8],
    etag: String,
}

impl Asset {
    fn new(stem: &str, extension: &str, media: &'static str, bytes: &'static [u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let hash = digest.iter().take(8).fold(String::new(), |mut out, byte| {
            write!(out, "{byte:02x}").expect("a String takes all that is written");
            out
        });
        let path = format!("/assets/{stem}.{hash}.{extension}");
        Self { path, media, bytes, etag: format!("\"{hash}\"") }
    }
}

/// The style sheet.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/pages.css");
    Asset::new("pages", "css", "text/css; charset=utf-8", bytes)
});
/// The script.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/pages.js");
    Asset::new("pages", "js", "text/javascript; charset=utf-8", bytes)
});
/// The icon.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/icon.svg");
    Asset::new("icon", "svg", "image/svg+xml", bytes)
});

/// How long a browser may keep a file: its name changes with what is in it.
const KEEP: &str = "public, max-age=31536000, immutable";

/// `GET /assets/{name}`
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let named = |asset: &&Asset| asset.path.strip_prefix("/assets/") == Some(name.as_str());
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(asset) = all.into_iter().find(named) else {
        return crate::problem::Problem::of_status(StatusCode::NOT_FOUND).into_response();
    };
    let kept = [(header::ETAG, asset.etag.as_str()), (header::CACHE_CONTROL, KEEP)];
    let asked = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    if asked.is_some_and(|tags| tags.split(',').any(|tag| tag.trim() == asset.etag)) {
        return (StatusCode::NOT_MODIFIED, kept).into_response();
    }
    (kept, [(header::CONTENT_TYPE, asset.media)], asset.bytes).into_response()
}
