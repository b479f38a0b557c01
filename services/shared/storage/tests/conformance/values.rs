//! What is written comes back as it was.

use crate::{THING_GET, THING_INSERT, open};
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Error, on};
use sqlx::types::Json;
use sqlx::types::uuid::Uuid;

meta_storage::on_both_engines! {
    the_outermost_numbers_come_back;
    text_comes_back_as_it_was;
    documents_and_ids_come_back;
    the_character_nul_is_kept_or_refused;
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
struct Thing {
    id: Uuid,
    note: String,
    number: i64,
    share: f64,
    body: Json<serde_json::Value>,
}

impl Thing {
    fn new(id: u128) -> Self {
        let body = Json(serde_json::Value::Null);
        Self { id: Uuid::from_u128(id), note: String::new(), number: 0, share: 0.0, body }
    }
}

async fn put(engine: &Engine, thing: &Thing) -> Result<(), Error> {
    let mut tx = engine.begin().await?;
    let sql = THING_INSERT.on(&tx);
    on!(tx, |db| sqlx::query(sql)
        .bind(thing.id)
        .bind(&thing.note)
        .bind(thing.number)
        .bind(thing.share)
        .bind(&thing.body)
        .execute(db)
        .await
        .map(drop)?);
    tx.commit().await
}

async fn get(engine: &Engine, id: Uuid) -> Result<Thing, Error> {
    let sql = THING_GET.on(engine);
    Ok(on!(engine.read(), |db| sqlx::query_as(sql).bind(id).fetch_one(db).await?))
}

async fn check(engine: &Engine, thing: Thing) {
    put(engine, &thing).await.unwrap();
    assert_eq!(get(engine, thing.id).await.unwrap(), thing);
}

async fn the_outermost_numbers_come_back(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let numbers = [i64::MAX, i64::MIN, 0, -1];
    let shares = [f64::MAX, f64::MIN_POSITIVE, -0.1, 1.0 / 3.0];
    for ((id, number), share) in (1..).zip(numbers).zip(shares) {
        check(&engine, Thing { number, share, ..Thing::new(id) }).await;
    }
}

async fn text_comes_back_as_it_was(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let texts = [
        "",
        "it's \"quoted\" \\ and $1 and ?",
        "'; DROP TABLE things; --",
        "žluťoučký 日本語 🦀 e\u{301} \u{202e}",
        "lines\r\nand\ttabs\u{1b}[0m\u{7f}",
        "\u{fffd}\u{10ffff}",
        &"x".repeat(1_000_000),
    ];
    for (id, text) in (1..).zip(texts) {
        check(&engine, Thing { note: text.to_owned(), ..Thing::new(id) }).await;
    }
}

async fn documents_and_ids_come_back(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let body = serde_json::json!({ "a": [1, 2.5, "ü", null, true], "z": { "deep": {} } });
    check(&engine, Thing { body: Json(body), ..Thing::new(u128::MAX) }).await;
}

/// The one difference: PostgreSQL's text has no NUL; the statement fails, nothing is cut off.
async fn the_character_nul_is_kept_or_refused(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let thing = Thing { note: "a\0b".to_owned(), ..Thing::new(1) };
    if crate::is_postgres(&engine) {
        let error = put(&engine, &thing).await.unwrap_err();
        assert!(matches!(error, Error::Statement(_)), "{error:?}");
        assert!(get(&engine, thing.id).await.is_err());
    } else {
        check(&engine, thing).await;
    }
}
