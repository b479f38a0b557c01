//! The check that both engines' migrations keep step.

use crate::Migrations;
use sqlx::migrate::Migrator;
use std::collections::BTreeSet;

/// The numbers of the migrations that only one engine has; none where they keep step.
pub fn unpaired(migrations: Migrations<'_>) -> Vec<i64> {
    let numbers = |m: &Migrator| m.iter().map(|one| one.version).collect::<BTreeSet<_>>();
    let (sqlite, postgres) = (numbers(migrations.sqlite), numbers(migrations.postgres));
    sqlite.symmetric_difference(&postgres).copied().collect()
}
