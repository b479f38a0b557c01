//! Opening, migrating, preparing, closing.

use crate::{ALL, MIGRATIONS, POSTGRES, SQLITE, count, counter, names, open, wrong};
use meta_domain::fault::Fault;
use meta_storage::testing::{Fresh, prepare_all, unpaired};
use meta_storage::{Engine, Error, Location, Migrations};
use sqlx::migrate::Migrator;
use std::path::Path;

meta_storage::on_both_engines! {
    opening_again_migrates_nothing;
    replicas_that_start_at_once_migrate_once;
    a_migration_that_was_changed_is_refused;
    a_migration_that_fails_leaves_nothing;
    every_statement_prepares;
    a_wrong_column_is_found_with_its_statement;
    a_closed_engine_is_unreachable;
}

async fn opening_again_migrates_nothing(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    engine.ping().await.unwrap();
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
    let again = open(fresh.location()).await;
    assert_eq!(counter(&again, "runs").await.unwrap(), Some(1));
}

async fn replicas_that_start_at_once_migrate_once(fresh: Fresh) {
    let mut replicas = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let location = fresh.location().clone();
        replicas.spawn(async move { Engine::open(&location, MIGRATIONS).await });
    }
    for engine in replicas.join_all().await {
        assert_eq!(counter(&engine.unwrap(), "runs").await.unwrap(), Some(0));
    }
}

/// The same migrations, the last one with another text.
fn altered(migrator: &Migrator, text: &'static str) -> Migrator {
    let mut migrations: Vec<_> = migrator.iter().cloned().collect();
    let last = migrations.pop().unwrap();
    let sql = sqlx::SqlSafeStr::into_sql_str(text);
    let (version, description, kind) = (last.version, last.description, last.migration_type);
    migrations.push(sqlx::migrate::Migration::new(version, description, kind, sql, false));
    Migrator::with_migrations(migrations)
}

async fn a_migration_that_was_changed_is_refused(fresh: Fresh) {
    open(fresh.location()).await.close().await;
    let text = "INSERT INTO counters (name, n) VALUES ('others', 0)";
    let (sqlite, postgres) = (altered(&SQLITE, text), altered(&POSTGRES, text));
    let migrations = Migrations { sqlite: &sqlite, postgres: &postgres };
    let error = Engine::open(fresh.location(), migrations).await.unwrap_err();
    assert!(matches!(error, Error::Migration(_)), "{error:?}");
}

async fn a_migration_that_fails_leaves_nothing(fresh: Fresh) {
    let text = "INSERT INTO counters (name, n) VALUES ('x', 1); INSERT INTO nowhere VALUES (1)";
    let (sqlite, postgres) = (altered(&SQLITE, text), altered(&POSTGRES, text));
    let migrations = Migrations { sqlite: &sqlite, postgres: &postgres };
    let error = Engine::open(fresh.location(), migrations).await.unwrap_err();
    assert!(matches!(error, Error::Migration(_)), "{error:?}");
    assert_eq!(Fault::from(error).reason, "STORE_OF_ANOTHER_VERSION");
    let engine = open(fresh.location()).await;
    assert_eq!(counter(&engine, "x").await.unwrap(), None);
    assert_eq!(counter(&engine, "runs").await.unwrap(), Some(0));
}

async fn every_statement_prepares(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    prepare_all(&engine, ALL).await.unwrap();
    assert_eq!(names(ALL).len(), 8);
    assert_eq!(names(ALL).last(), Some(&"JOB_CLAIM"));
}

async fn a_wrong_column_is_found_with_its_statement(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let all = [ALL, wrong::ALL].concat();
    let error = prepare_all(&engine, &all).await.unwrap_err().to_string();
    assert!(error.contains("WRONG_COLUMN") && error.contains("colour"), "{error}");
    assert!(!error.contains("COUNTER"), "{error}");
}

async fn a_closed_engine_is_unreachable(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    engine.close().await;
    assert!(matches!(engine.ping().await, Err(Error::Unreachable(_))));
    assert!(matches!(count(&engine, "runs").await, Err(Error::Unreachable(_))));
}

#[test]
fn a_migration_that_one_engine_lacks_is_found() {
    assert_eq!(unpaired(MIGRATIONS), Vec::<i64>::new());
    let short = Migrator::with_migrations(SQLITE.iter().take(1).cloned().collect());
    assert_eq!(unpaired(Migrations { sqlite: &short, postgres: &POSTGRES }), [2]);
}

#[tokio::test]
async fn a_files_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::parse("new/folder/t.db", dir.path()).unwrap();
    open(&location).await;
    assert!(dir.path().join("new/folder/t.db").is_file());
}

#[tokio::test]
async fn a_path_that_is_no_file_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    for path in ["file/t.db", "."] {
        let location = Location::parse(path, dir.path()).unwrap();
        let got = Engine::open(&location, MIGRATIONS).await;
        assert!(matches!(got, Err(Error::Unreachable(_))), "{path}: {got:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unreachable() {
    let fresh = Fresh::postgres().await;
    let url = fresh.location().to_setting().replacen("///t", "///no", 1);
    let location = Location::parse(&url, Path::new("/")).unwrap();
    let got = Engine::open(&location, MIGRATIONS).await;
    assert!(matches!(got, Err(Error::Unreachable(_))), "{got:?}");
}

#[tokio::test]
async fn an_engine_shows_no_password() {
    let fresh = Fresh::postgres().await;
    let url = format!("{}&password=s3cr3t", fresh.location().to_setting());
    let location = Location::parse(&url, Path::new("/")).unwrap();
    let engine = open(&location).await;
    let shown = format!("{engine:?} {location:?} {location}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}
