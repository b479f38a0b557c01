//! A small issuer of tokens and provider of sign-ins, with a real key: discovery, keys, the code
//! flow with PKCE. It answers as the standard says and refuses what does not fit.

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What it calls us.
pub const CLIENT: &str = "metabuilder";
/// What we show it.
pub const SECRET: &str = "a secret of the test";
/// The id of its key.
pub const KID: &str = "k1";

/// The issuer.
#[derive(Clone)]
pub struct Issuer {
    /// Where it is.
    pub url: String,
    state: Arc<State>,
}

struct State {
    key: EncodingKey,
    jwk: Value,
    /// Claims of whoever signs in next.
    person: Mutex<Value>,
    /// What was asked for, by the code that was given.
    codes: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    /// What it was asked, as paths.
    asked: Mutex<Vec<String>>,
}

impl Issuer {
    /// Listens on loopback until the test ends.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::generate_pkcs8(kind, &SystemRandom::new())?;
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        jwk.common.key_id = Some(KID.to_owned());
        let state = State {
            jwk: serde_json::to_value(jwk)?,
            key,
            person: Mutex::default(),
            codes: Mutex::default(),
            asked: Mutex::default(),
        };
        let issuer = Self { url, state: Arc::new(state) };
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let issuer = serving.clone();
                tokio::spawn(async move { issuer.serve(stream).await.is_ok() });
            }
        });
        Ok(issuer)
    }

    /// A token of these claims beside the usual ones, signed with its key.
    pub fn token(&self, audience: &str, claims: &Value) -> Result<String> {
        let seconds = meta_runtime::now().0 / 1000;
        let mut all = json!({
            "iss": self.url, "aud": audience, "iat": seconds, "exp": seconds + 300,
        });
        if let (Some(all), Some(claims)) = (all.as_object_mut(), claims.as_object()) {
            all.extend(claims.clone());
        }
        let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::ES256) };
        Ok(jsonwebtoken::encode(&header, &all, &self.state.key)?)
    }

    /// The public half of its key.
    pub fn jwk(&self) -> &Value {
        &self.state.jwk
    }

    /// Who signs in next.
    pub fn person(&self, claims: Value) {
        *self.state.person.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        let asked = self.state.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|one| *one == path).count()
    }

    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let target = line.split(' ').nth(1).context("a target")?.to_owned();
        let (mut length, mut credential) = (0, String::new());
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let header = header.trim_end();
            let Some((name, value)) = header.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "authorization" => value.trim().clone_into(&mut credential),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        let (status, more, body) = match path {
            "/.well-known/openid-configuration" => (200, String::new(), self.discovery()),
            "/jwks" => (200, String::new(), json!({ "keys": [self.state.jwk] })),
            "/authorize" => self.authorize(&pairs(query)),
            "/token" => self.exchange(&credential, &pairs(&String::from_utf8(body)?))?,
            _ => (404, String::new(), Value::Null),
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{more}\
             connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        Ok(())
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "authorization_endpoint": format!("{}/authorize", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "jwks_uri": format!("{}/jwks", self.url),
        })
    }

    /// Signs the next person in, without asking, and sends the browser back.
    fn authorize(&self, asked: &BTreeMap<String, String>) -> (u16, String, Value) {
        let fits = asked.get("client_id").is_some_and(|id| id == CLIENT)
            && asked.get("response_type").is_some_and(|t| t == "code")
            && asked.get("code_challenge_method").is_some_and(|m| m == "S256")
            && asked.get("scope").is_some_and(|s| s.split(' ').any(|w| w == "openid"));
        let (Some(back), Some(state)) = (asked.get("redirect_uri"), asked.get("state")) else {
            return (400, String::new(), Value::Null);
        };
        if !fits {
            return (400, String::new(), Value::Null);
        }
        let mut codes = self.state.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let code = format!("code-{}", codes.len());
        codes.insert(code.clone(), asked.clone());
        (302, format!("location: {back}?code={code}&state={state}\r\n"), Value::Null)
    }

    /// Gives a token for a code, once, to whom it was given for.
    fn exchange(
        &self,
        credential: &str,
        form: &BTreeMap<String, String>,
    ) -> Result<(u16, String, Value)> {
        let refused = (400, String::new(), json!({ "error": "invalid_grant" }));
        let basic = base64::prelude::BASE64_STANDARD
            .encode(format!("{CLIENT}:{}", SECRET.replace(' ', "+")));
        let code = form.get("code").map(String::as_str).unwrap_or_default();
        let asked = {
            let mut codes = self.state.codes.lock().unwrap_or_else(PoisonError::into_inner);
            codes.remove(code)
        };
        let Some(asked) = asked.filter(|_| credential == format!("Basic {basic}")) else {
            return Ok(refused);
        };
        let verifier = form.get("code_verifier").map(String::as_str).unwrap_or_default();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let fits = asked.get("code_challenge") == Some(&challenge)
            && asked.get("redirect_uri") == form.get("redirect_uri")
            && form.get("grant_type").is_some_and(|g| g == "authorization_code");
        if !fits {
            return Ok(refused);
        }
        let mut claims = self.state.person.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if claims.get("nonce").is_none() {
            claims["nonce"] = asked.get("nonce").cloned().into();
        }
        let token = self.token(CLIENT, &claims)?;
        Ok((200, String::new(), json!({ "id_token": token, "token_type": "Bearer" })))
    }
}

/// The pairs of a form or a query.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
