//! The layer against good and bad credentials.

use super::*;
use meta_domain::role::Role;

impl Auth {
    /// For whom a call may be made.
    async fn check(&self, path: &str, headers: &HeaderMap) -> Result<Option<Identity>, Fault> {
        self.admit(path, headers).await.map(|admitted| admitted.caller)
    }
}

const RESOLVE: &str = "/metabuilder.flags.v1.FlagsService/Resolve";
const POLL: &str = "/metabuilder.runner.v1.WorkService/PollTask";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (k, v) in pairs {
        map.append(*k, v.parse().unwrap());
    }
    map
}

/// Headers with a token that `secret` signs for this path.
fn signed(secret: &str, path: &str, pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = headers(pairs);
    let token = Signer::new(secret).expect("a secret").sign(path, &map, crate::now());
    map.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    map
}

async fn kind(auth: &Auth, path: &str, pairs: &[(&'static str, &str)]) -> Option<ErrorKind> {
    auth.check(path, &headers(pairs)).await.err().map(|f| f.kind)
}

const T: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";
const OTHER: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e60";

#[tokio::test]
async fn the_service_token_and_a_principal_pass() {
    let auth = Auth::new(Mode::Token, "s3cret", None);
    let good = signed("s3cret", RESOLVE, &[(TENANT, T), (ROLE, "viewer")]);
    let caller = auth.check(RESOLVE, &good).await.unwrap().unwrap();
    assert_eq!(caller.principal.role, Role::Viewer);
}

#[tokio::test]
async fn wrong_missing_and_doubled_credentials_are_refused() {
    let auth = Auth::new(Mode::Token, "s3cret", None);
    for bad in [
        vec![(TENANT, T), (ROLE, "owner")],
        vec![("authorization", "Bearer s3creT"), (TENANT, T), (ROLE, "owner")],
        vec![("authorization", "Bearer "), (TENANT, T), (ROLE, "owner")],
        vec![("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")],
        // the secret itself is no credential
        vec![("authorization", "Bearer s3cret"), (TENANT, T), (ROLE, "owner")],
    ] {
        let got = kind(&auth, RESOLVE, &bad).await;
        assert_eq!(got, Some(ErrorKind::Unauthenticated), "{bad:?}");
    }
    for bad in [vec![], vec![(TENANT, "x"), (ROLE, "owner")], vec![(TENANT, T), (ROLE, "king")]] {
        let got = auth.check(RESOLVE, &signed("s3cret", RESOLVE, &bad)).await;
        assert_eq!(got.unwrap_err().kind, ErrorKind::Unauthenticated, "{bad:?}");
    }
}

#[tokio::test]
async fn a_token_does_not_serve_for_somebody_else() {
    let auth = Auth::new(Mode::Token, "s3cret", None);
    let mut taken = signed("s3cret", RESOLVE, &[(TENANT, T), (ROLE, "viewer")]);
    taken.insert(TENANT, OTHER.parse().unwrap());
    let got = auth.check(RESOLVE, &taken).await;
    assert_eq!(got.unwrap_err().kind, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_runner_takes_work_and_speaks_for_nobody() {
    let auth = Auth::new(Mode::Token, "s3cret", None);
    let own = runner_secret("s3cret").unwrap();
    assert_eq!(auth.check(POLL, &signed(&own, POLL, &[])).await, Ok(None));
    let owner = [(TENANT, T), (ROLE, "owner")];
    let got = auth.check(RESOLVE, &signed(&own, RESOLVE, &owner)).await;
    assert_eq!(got.unwrap_err().reason, "RUNNER_ONLY_WORKS");
}

#[tokio::test]
async fn an_empty_token_lets_nobody_in() {
    let auth = Auth::new(Mode::Token, "", None);
    let got = kind(&auth, POLL, &[("authorization", "Bearer ")]).await;
    assert_eq!(got, Some(ErrorKind::Unauthenticated));
}

#[tokio::test]
async fn a_low_role_is_denied() {
    let auth = Auth::new(Mode::Token, "s", None);
    let set = "/metabuilder.flags.v1.FlagsService/SetOverrides";
    let viewer = signed("s", set, &[(TENANT, T), (ROLE, "viewer")]);
    let got = auth.check(set, &viewer).await.unwrap_err();
    assert_eq!((got.kind, got.reason), (ErrorKind::PermissionDenied, "ROLE_TOO_LOW"));
}

#[tokio::test]
async fn a_scope_that_is_missing_is_denied_and_told() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let sink: DenialSink = Arc::new(move |denial| tell.lock().unwrap().push(denial));
    let auth = Auth::new(Mode::Token, "s", None).telling(Some(sink));
    let pairs = [(TENANT, T), (ROLE, "owner"), (SCOPES, "runs"), (CREDENTIAL, "key:1")];
    let got = auth.check(RESOLVE, &signed("s", RESOLVE, &pairs)).await.unwrap_err();
    assert_eq!((got.kind, got.reason), (ErrorKind::PermissionDenied, "SCOPE_MISSING"));
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].action.as_str(), told[0].caller.credential.as_str()), (RESOLVE, "key:1"));
}

#[tokio::test]
async fn a_known_caller_needs_no_credential_and_is_nothing_more() {
    let known =
        Principal { tenant: T.parse().unwrap(), role: Role::Viewer, actor: "flagd".to_owned() };
    let auth = Auth::as_caller(known.clone());
    let forged = [("authorization", "Bearer x"), (TENANT, OTHER), (ROLE, "owner")];
    assert_eq!(auth.check(RESOLVE, &headers(&forged)).await, Ok(Some(known.into())));
    let set = "/metabuilder.flags.v1.FlagsService/SetOverrides";
    assert_eq!(kind(&auth, set, &forged).await, Some(ErrorKind::PermissionDenied));
    assert_eq!(kind(&auth, POLL, &forged).await, Some(ErrorKind::PermissionDenied));
}

#[tokio::test]
async fn keys_work_where_they_can_be_checked_but_never_for_machines() {
    let keys: KeyCheck = Arc::new(|key| {
        Box::pin(async move {
            if key == "mb_good" {
                let tenant = T.parse().unwrap();
                Ok(Principal { tenant, role: Role::Owner, actor: "key".into() }.into())
            } else {
                Err(Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_KEY", "unknown key"))
            }
        })
    });
    let auth = Auth::new(Mode::Token, "s", Some(keys));
    let good = [("authorization", "Bearer mb_good")];
    assert_eq!(kind(&auth, RESOLVE, &good).await, None);
    assert_eq!(kind(&auth, POLL, &good).await, Some(ErrorKind::PermissionDenied));
    let bad = [("authorization", "Bearer mb_bad")];
    assert_eq!(kind(&auth, RESOLVE, &bad).await, Some(ErrorKind::Unauthenticated));
}
