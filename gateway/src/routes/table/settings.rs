//! Routes of settings of tenants, of runs and of the whole platform.

use crate::contract::schema::{
    any, cleared, if_match, many, map_of, named, one, page_token, per_page, rollouts, setting,
    write_options,
};
use crate::contract::{Operation, Routes, op};
use crate::routes::settings;
use meta_domain::role::Role;
use serde_json::json;

/// What a write of settings answers.
fn writes(id: &'static str, summary: &'static str, resource: &'static str) -> Operation {
    let now = json!({ "anyOf": [one(resource), one("SettingsDryRun")] });
    op(id, summary)
        .query(write_options())
        .headers([if_match()])
        .answers(200, "How the settings are now, or what would change", now)
        .answers(202, "The change is scheduled", one("ScheduledChange"))
        .refuses(&[409, 412])
}

/// A tenant's override.
pub(super) fn of_tenants() -> Routes {
    let path = "/tenants/{tenant_id}/settings";
    Routes::default()
        .get(
            path,
            settings::tenant,
            op("getTenantSettings", "A tenant's settings and where each value comes from").answers(
                200,
                "The settings",
                one("Settings"),
            ),
        )
        .put(
            path,
            settings::set_tenant,
            writes("replaceTenantSettings", "Replace a tenant's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .patch(
            path,
            settings::set_tenant,
            writes("changeTenantSettings", "Change a tenant's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .delete(
            path,
            settings::clear_tenant,
            writes("clearTenantSettings", "Remove a tenant's override", "Settings")
                .role(Role::Admin)
                .query([cleared()]),
        )
        .get(
            "/tenants/{tenant_id}/settings/history",
            settings::history::tenant,
            op("listTenantSettingsChanges", "What was changed for a tenant and its runs")
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
        .delete(
            "/tenants/{tenant_id}/settings/scheduled/{scheduled_id}",
            settings::cancel_scheduled,
            op("cancelScheduledChange", "Take back a scheduled change")
                .role(Role::Admin)
                .answers(200, "It is taken back", one("ScheduledChange"))
                .refuses(&[409]),
        )
        .post(
            "/settings/validate",
            settings::validate,
            op("validateSettings", "Check an override without storing it")
                .attributes(map_of(any()))
                .answers(200, "What is wrong with it", one("SettingsValidation")),
        )
}

/// A run's override.
pub(super) fn of_runs() -> Routes {
    let path = "/runs/{run_id}/settings";
    Routes::default()
        .get(
            path,
            settings::run,
            op("getRunSettings", "A run's settings and where each value comes from").answers(
                200,
                "The settings",
                one("Settings"),
            ),
        )
        .put(
            path,
            settings::set_run,
            writes("replaceRunSettings", "Replace a run's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .patch(
            path,
            settings::set_run,
            writes("changeRunSettings", "Change a run's override", "Settings")
                .role(Role::Admin)
                .attributes(named("Overrides")),
        )
        .delete(
            path,
            settings::clear_run,
            writes("clearRunSettings", "Remove a run's override", "Settings")
                .role(Role::Admin)
                .query([cleared()]),
        )
        .get(
            "/runs/{run_id}/settings/history",
            settings::history::run,
            op("listRunSettingsChanges", "What was changed for a run")
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
}

/// The layers of the whole platform.
pub(super) fn of_the_platform() -> Routes {
    let path = "/settings/platform/{layer}";
    let document = || json!({ "anyOf": [named("Overrides"), rollouts()] });
    Routes::default()
        .get(
            "/settings/platform",
            settings::platform::show,
            op("getPlatformSettings", "The layers of the whole platform")
                .role(Role::PlatformAdmin)
                .answers(200, "The layers", one("PlatformSettings")),
        )
        .put(
            path,
            settings::platform::set,
            writes("replacePlatformLayer", "Replace a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .attributes(document()),
        )
        .patch(
            path,
            settings::platform::set,
            writes("changePlatformLayer", "Change a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .attributes(document()),
        )
        .delete(
            path,
            settings::platform::clear,
            writes("clearPlatformLayer", "Clear a layer", "PlatformSettings")
                .role(Role::PlatformAdmin)
                .query([cleared()]),
        )
        .get(
            "/settings/platform/history",
            settings::history::platform,
            op("listPlatformChanges", "What was changed for the whole platform")
                .role(Role::PlatformAdmin)
                .query([setting(), per_page(), page_token()])
                .answers(200, "Changes, newest first", many("SettingsChange")),
        )
        .delete(
            "/settings/platform/scheduled/{scheduled_id}",
            settings::platform::cancel_scheduled,
            op("cancelPlatformScheduledChange", "Take back a scheduled change of the platform")
                .role(Role::PlatformAdmin)
                .answers(200, "It is taken back", one("ScheduledChange"))
                .refuses(&[409]),
        )
}
