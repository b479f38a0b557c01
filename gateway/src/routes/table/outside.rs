//! Routes of what is not below the API: health and this document.

use crate::contract::schema::{any, map_of, object, text, words};
use crate::contract::{Routes, op};
use crate::routes::{about, health};

/// Their routes.
pub(super) fn routes() -> Routes {
    let json = "application/json";
    let alive = object(&[("status", words(&["ok"]))]);
    let ready = object(&[
        ("status", words(&["ready", "not_ready"])),
        ("peers", map_of(text())),
        ("settings", words(&["fresh", "stale", "expired", "unknown"])),
    ]);
    let open = |id, summary| op(id, summary).open().outside();
    Routes::default()
        .get(
            "/healthz",
            health::alive,
            open("isAlive", "The process lives").gives(200, "It does", json, alive),
        )
        .get(
            "/readyz",
            health::ready,
            open("isReady", "The services behind it serve and the settings are known")
                .gives(200, "It is ready", json, ready.clone())
                .gives(503, "It is not", json, ready),
        )
        .get(
            "/openapi.json",
            about::openapi,
            open("getOpenApi", "This document").gives(200, "OpenAPI 3.1", json, map_of(any())),
        )
        .get(
            "/docs",
            about::docs,
            open("getDocs", "This document for people").gives(
                200,
                "A page",
                "text/html; charset=utf-8",
                text(),
            ),
        )
        .get(
            "/docs/docs.js",
            about::script,
            open("getDocsScript", "What the page does").gives(
                200,
                "A script",
                "text/javascript; charset=utf-8",
                text(),
            ),
        )
        .get(
            "/docs/docs.css",
            about::style,
            open("getDocsStyle", "What the page looks like").gives(
                200,
                "A style sheet",
                "text/css; charset=utf-8",
                text(),
            ),
        )
}
