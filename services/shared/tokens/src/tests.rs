//! Tokens that an attacker would write, against real keys of each kind.

use super::*;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use meta_domain::role::Role;
use meta_domain::time::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "metabuilder";
const TENANT: &str = "01890000-0000-7000-8000-000000000001";
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Bytes of a PKCS #8 document of RSA before the PKCS #1 one inside of it.
const PKCS8_HEAD: usize = 26;

/// A key with its public half.
struct Signer {
    key: EncodingKey,
    algorithm: jsonwebtoken::Algorithm,
    jwk: Value,
}

impl Signer {
    fn new(algorithm: jsonwebtoken::Algorithm, kid: &str) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            jsonwebtoken::Algorithm::RS256 => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                EncodingKey::from_rsa_der(&pair.as_der().unwrap().as_ref()[PKCS8_HEAD..])
            }
            jsonwebtoken::Algorithm::ES256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                EncodingKey::from_ec_der(pair.as_ref())
            }
            _ => {
                let pair = Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
                EncodingKey::from_ed_der(pair.as_ref())
            }
        };
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        Self { key, algorithm, jwk: serde_json::to_value(jwk).unwrap() }
    }

    fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// A file of keys, removed at the end.
struct File(PathBuf);

impl File {
    fn of(name: &str, keys: &[&Value]) -> Self {
        let path = std::env::temp_dir().join(format!("tokens-{}-{name}.json", std::process::id()));
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn issuer(file: &File) -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        jwks_file: Some(file.0.clone()),
        ..Issuer::default()
    }
}

fn claims() -> Value {
    let seconds = NOW.0 / 1000;
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "tenant": TENANT, "roles": ["member"],
        "exp": seconds + 300, "nbf": seconds - 10,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

async fn refused(verifier: &Verifier, token: &str) -> String {
    match verifier.verify(token, NOW).await {
        Err(refused) => refused.to_string(),
        Ok(claims) => panic!("{claims:?} of {token}"),
    }
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_is_believed() {
    use jsonwebtoken::Algorithm::{ES256, EdDSA, RS256};
    for (name, algorithm) in [("rsa", RS256), ("ec", ES256), ("ed", EdDSA)] {
        let signer = Signer::new(algorithm, "k");
        let file = File::of(name, &[&signer.jwk]);
        let verifier = Verifier::new(&issuer(&file)).unwrap();
        let token = signer.sign("k", &claims());
        assert!(is_token(&token));
        let found = verifier.verify(&token, NOW).await.unwrap();
        assert_eq!((found.role, found.tenant.to_string().as_str()), (Role::Member, TENANT));
        let who = found.identity();
        assert_eq!(who.principal.actor, "https://issuer.example#ann");
        assert_eq!(who.expires, Some(found.expires));
    }
}

#[tokio::test]
async fn h1_to_h4_what_is_forged_is_refused() {
    let (one, two) = (
        Signer::new(jsonwebtoken::Algorithm::RS256, "rsa"),
        Signer::new(jsonwebtoken::Algorithm::ES256, "ec"),
    );
    let file = File::of("forged", &[&one.jwk, &two.jwk]);
    let verifier = Verifier::new(&issuer(&file)).unwrap();
    let written = |header: Value, claims: &Value, signature: &str| {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(&header), part(claims))
    };
    // no signature
    for alg in ["none", "None", "NONE", ""] {
        for signature in ["", "AAAA"] {
            let token = written(json!({ "alg": alg, "kid": "rsa" }), &claims(), signature);
            assert!(refused(&verifier, &token).await.contains("not allowed"), "{alg}");
        }
    }
    // the public half as a shared secret
    let public = one.jwk["n"].as_str().unwrap().as_bytes();
    let header =
        Header { kid: Some("rsa".to_owned()), ..Header::new(jsonwebtoken::Algorithm::HS256) };
    let token =
        jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(public)).unwrap();
    assert!(refused(&verifier, &token).await.contains("not allowed"));
    // another key, another kind of key, another body
    assert!(refused(&verifier, &two.sign("rsa", &claims())).await.contains("another kind"));
    let other = Signer::new(jsonwebtoken::Algorithm::RS256, "rsa");
    assert!(refused(&verifier, &other.sign("rsa", &claims())).await.contains("not signed"));
    let good = one.sign("rsa", &claims());
    let parts: Vec<&str> = good.split('.').collect();
    let body = BASE64_URL_SAFE_NO_PAD.encode(with("roles", json!("owner")).to_string());
    let changed = format!("{}.{body}.{}", parts[0], parts[2]);
    assert!(refused(&verifier, &changed).await.contains("not signed"));
    // ids of keys that lead elsewhere, and headers that want to be followed
    for kid in ["../../dev/null", "", "RSA", "rsa' OR '1", "https://evil.example/jwks"] {
        let said = refused(&verifier, &one.sign(kid, &claims())).await;
        assert!(said.contains("does not have"), "{kid}: {said}");
    }
    let header = json!({
        "alg": "RS256", "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x",
        "jwk": other.jwk,
    });
    assert!(refused(&verifier, &written(header, &claims(), "AAAA")).await.contains("which key"));
    let critical = json!({ "alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false });
    assert!(refused(&verifier, &written(critical, &claims(), "AAAA")).await.contains("understood"));
    for bad in ["", "a.b", "a.b.c.d", "....", &format!("{good}.x"), &"e".repeat(40_000)] {
        refused(&verifier, bad).await;
    }
}

#[tokio::test]
async fn h3_claims_have_to_fit_us_and_the_time() {
    let signer = Signer::new(jsonwebtoken::Algorithm::EdDSA, "k");
    let file = File::of("claims", &[&signer.jwk]);
    let verifier = Verifier::new(&issuer(&file)).unwrap();
    let seconds = NOW.0 / 1000;
    for (name, value, why) in [
        ("exp", json!(seconds - 86_400), "is over"),
        ("exp", json!(seconds - 61), "is over"),
        ("exp", Value::Null, "when it ends"),
        ("exp", json!("tomorrow"), "when it ends"),
        ("exp", json!(1e300), "when it ends"),
        ("nbf", json!(seconds + 86_400), "not in force"),
        ("nbf", json!("x"), "since when"),
        ("aud", json!("other"), "somebody else"),
        ("aud", json!(["other"]), "somebody else"),
        ("aud", Value::Null, "somebody else"),
        ("iss", json!("https://issuer.example/"), "no issuer"),
        ("iss", Value::Null, "no issuer"),
        ("sub", json!(""), "whose"),
        ("sub", json!("x".repeat(300)), "whose"),
        ("tenant", json!("acme"), "no id"),
        ("tenant", Value::Null, "names no tenant"),
        ("roles", json!("king"), "no role"),
        ("roles", json!(["runner", "platform_admin"]), "no role"),
        ("roles", json!({ "a": 1 }), "no role"),
    ] {
        let said = refused(&verifier, &signer.sign("k", &with(name, value.clone()))).await;
        assert!(said.contains(why), "{name}={value}: {said}");
    }
    for (name, value) in [
        ("exp", json!(seconds - 30)),
        ("nbf", json!(seconds + 30)),
        ("aud", json!(["other", AUDIENCE])),
        ("roles", json!(["viewer", "king", "member"])),
    ] {
        let token = signer.sign("k", &with(name, value.clone()));
        assert!(verifier.verify(&token, NOW).await.is_ok(), "{name}={value}");
    }
}

#[tokio::test]
async fn the_issuers_words_and_its_only_tenant_are_ours_to_say() {
    let signer = Signer::new(jsonwebtoken::Algorithm::EdDSA, "k");
    let file = File::of("words", &[&signer.jwk]);
    let config = Issuer {
        tenant: Some(TENANT.parse().unwrap()),
        roles_claim: "/realm_access/roles".to_owned(),
        roles: [("builders".to_owned(), Role::Admin)].into(),
        ..issuer(&file)
    };
    let verifier = Verifier::new(&config).unwrap();
    let mut said = with("realm_access", json!({ "roles": ["builders"] }));
    said["tenant"] = Value::Null;
    let found = verifier.verify(&signer.sign("k", &said), NOW).await.unwrap();
    assert_eq!(found.role, Role::Admin);
    said["tenant"] = json!("01890000-0000-7000-8000-000000000002");
    assert!(refused(&verifier, &signer.sign("k", &said)).await.contains("may not name"));
    // an address counts only where the issuer says that it is theirs
    said["tenant"] = json!(TENANT);
    said["email"] = json!("ann@example.org");
    let found = verifier.verify(&signer.sign("k", &said), NOW).await.unwrap();
    assert_eq!(found.identity().principal.actor, "https://issuer.example#ann");
    said["email_verified"] = json!(true);
    let found = verifier.verify(&signer.sign("k", &said), NOW).await.unwrap();
    assert_eq!(found.identity().principal.actor, "ann@example.org");
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_in_a_while() {
    let (old, new) = (
        Signer::new(jsonwebtoken::Algorithm::EdDSA, "old"),
        Signer::new(jsonwebtoken::Algorithm::EdDSA, "new"),
    );
    let file = File::of("rotated", &[&old.jwk]);
    let verifier = Verifier::new(&issuer(&file)).unwrap();
    assert!(verifier.verify(&old.sign("old", &claims()), NOW).await.is_ok());
    std::fs::write(&file.0, json!({ "keys": [new.jwk] }).to_string()).unwrap();
    let token = new.sign("new", &claims());
    assert!(refused(&verifier, &token).await.contains("does not have"), "not asked again yet");
    let later = NOW.plus_ms(i64::try_from(jwks::FETCH_EVERY_MS).unwrap());
    assert!(verifier.verify(&token, later).await.is_ok());
    let gone = verifier.verify(&old.sign("old", &claims()), later).await;
    assert!(gone.is_err(), "a key that the issuer took out is none");
}

#[test]
fn a_configuration_says_all_that_is_wrong_with_it() {
    let config = Issuer {
        jwks_url: Some("http://issuer.example/jwks".to_owned()),
        algorithms: Vec::new(),
        roles: [("x".to_owned(), Role::Runner)].into(),
        ..Issuer::default()
    };
    let faults = config.check();
    for path in ["issuer", "audience", "jwks_url", "algorithms", "roles"] {
        assert!(faults.iter().any(|f| f.path == path), "{path}: {faults:?}");
    }
    let text = r#"{ "issuer": "a", "algorithms": ["HS256"] }"#;
    assert!(serde_json::from_str::<Issuer>(text).is_err(), "a shared secret is no choice");
}

#[test]
fn a_sign_in_is_known_by_its_state_alone() {
    let one = SignIn::of(&"a".repeat(64)).unwrap();
    let two = SignIn::of(&"b".repeat(64)).unwrap();
    assert!(one.is_of(&one.state()) && !one.is_of(&two.state()) && !one.is_of(""));
    assert_ne!(one.state(), one.nonce());
    for bad in ["", "a", &"g".repeat(64), &"A".repeat(64)] {
        assert_eq!(SignIn::of(bad), None);
    }
}

#[test]
fn both_sections_read_the_same_rules_and_refuse_what_they_do_not_know() {
    let rules = json!({
        "tenant_claim": "/our/tenant",
        "tenant": "01890000-0000-7000-8000-000000000001",
        "roles_claim": "groups",
        "roles": { "builders": "admin" },
        "platform_admins": true,
    });
    let issuer: Issuer = serde_json::from_value(rules.clone()).unwrap();
    let oidc: Oidc = serde_json::from_value(rules.clone()).unwrap();
    assert_eq!(Rules::from(&issuer), Rules::from(&oidc));
    assert_eq!(serde_json::to_value(Rules::from(&issuer)).unwrap(), rules);
    assert_eq!(Rules::from(&Issuer::default()), Rules::default());
    assert_eq!(Rules::from(&Oidc::default()), Rules::default());
    let unknown = json!({ "role_claim": "groups" });
    assert!(serde_json::from_value::<Issuer>(unknown.clone()).is_err());
    assert!(serde_json::from_value::<Oidc>(unknown).is_err());
}
