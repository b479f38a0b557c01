//! What all pages have in common.

use super::assets::{ICON, SCRIPT, STYLE};
use super::theme::Theme;
use super::visitor::Visitor;
use crate::problem::Problem;
use crate::routes::App;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use meta_domain::status::RunStatus;
use meta_proto::convert::Number;
use meta_proto::orchestrator as pb;

/// Where in the site a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Runs,
    Approvals,
    Settings,
    None,
}

/// A page to be written.
pub(super) struct Page<'a> {
    /// Of the window.
    pub(super) title: &'a str,
    pub(super) section: Section,
    /// Who looks; nobody on the sign-in page and where that is not known.
    pub(super) visitor: Option<&'a Visitor>,
    /// Runs that wait for a decision.
    pub(super) waiting: Option<u64>,
    pub(super) theme: Theme,
    pub(super) body: Markup,
}

impl<'a> Page<'a> {
    /// A page of somebody who is signed in.
    pub(super) fn of(visitor: &'a Visitor, section: Section, title: &'a str, body: Markup) -> Self {
        let theme = visitor.theme;
        Self { title, section, visitor: Some(visitor), waiting: None, theme, body }
    }

    /// With the number of runs that wait.
    #[must_use]
    pub(super) fn waiting(self, waiting: Option<u64>) -> Self {
        Self { waiting, ..self }
    }

    fn markup(self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" data-theme=(self.theme.word()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · Meta-Builder" }
                    link rel="icon" type="image/svg+xml" href=(ICON.path);
                    link rel="stylesheet" href=(STYLE.path);
                    script src=(SCRIPT.path) defer {}
                }
                body {
                    a.skip href="#main" { "Skip to content" }
                    (self.top())
                    main id="main" tabindex="-1" { (self.body) }
                    div id="announce" class="sr" role="status" aria-live="polite" {}
                }
            }
        }
    }

    fn top(&self) -> Markup {
        let item = |section, href: &str, text: &str| {
            let here = (self.section == section).then_some("page");
            html! { a href=(href) aria-current=[here] { (text) } }
        };
        html! {
            header.top {
                a.brand href="/runs" {
                    svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true" {
                        path.brand-a d="M2 9a7 7 0 0 1 12-4.9" {}
                        path.brand-b d="M16 9a7 7 0 0 1-12 4.9" {}
                        path.brand-c d="m6.2 9.2 2 2 3.8-4.4" {}
                    }
                    span { "Meta-Builder" }
                }
                @if let Some(visitor) = self.visitor {
                    nav aria-label="Main" {
                        (item(Section::Runs, "/runs", "Runs"))
                        a href="/approvals" aria-current=[(self.section == Section::Approvals).then_some("page")] {
                            "Approvals"
                            @if let Some(n @ 1..) = self.waiting {
                                span.count data-waiting { (n) span.sr { " waiting" } }
                            }
                        }
                        (item(Section::Settings, "/settings/builder/auto-fix", "Settings"))
                    }
                    (self.who(visitor))
                }
            }
        }
    }

    fn who(&self, visitor: &Visitor) -> Markup {
        let principal = &visitor.caller.principal;
        html! {
            div.who {
                form.theme method="post" action="/theme" {
                    input type="hidden" name="to" value=(visitor.path);
                    label.sr for="theme" { "Colours" }
                    select id="theme" name="theme" data-theme-choice {
                        @for theme in Theme::ALL {
                            option value=(theme.word()) selected[theme == self.theme] { (theme.word()) }
                        }
                    }
                    noscript { button.quiet type="submit" { "Set" } }
                }
                span.actor title=(format!("{} in tenant {}", principal.actor, principal.tenant)) {
                    (visitor.name()) " " span.role { (principal.role.as_str().replace('_', " ")) }
                }
                @if !visitor.csrf.is_empty() {
                    form method="post" action="/sign-out" {
                        input type="hidden" name="csrf" value=(visitor.csrf) data-csrf;
                        button.quiet type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        Html(self.markup().into_string()).into_response()
    }
}

/// How many runs wait for a decision; `None` when that cannot be said now.
///
/// # Errors
/// Never: a page without the number is still a page.
pub(super) async fn waiting(app: &App, visitor: &Visitor) -> Option<u64> {
    let message = visitor.caller.message(pb::ListRunsRequest {
        page_size: 1,
        status: RunStatus::PausedAwaitingApproval.number(),
        ..pb::ListRunsRequest::default()
    });
    let found = visitor.caller.ask(app.peers.runs().list_runs(message)).await;
    match found {
        Ok(found) => Some(found.total),
        Err(Problem { status, .. }) => {
            tracing::debug!(%status, "the number of waiting runs is not known");
            None
        }
    }
}

/// The hidden field that makes a form ours.
pub(super) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}
