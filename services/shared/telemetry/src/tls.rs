//! TLS to the collector, as the standard variables say.

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use std::collections::BTreeMap;

/// What every file of certificates has.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// What every file with a private key has.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// What the variables say of TLS for a signal (`TRACES`, `METRICS`, `LOGS`): nothing when its
/// endpoint speaks without. A certificate of one's own takes the place of the system's.
///
/// # Errors
/// When a file cannot be read or is none of the kind, with the variable that names it.
pub(crate) fn settings(
    vars: &BTreeMap<String, String>,
    signal: &str,
) -> Result<Option<ClientTlsConfig>, String> {
    let of = |name: &str| chosen(vars, signal, name);
    let endpoint = of("ENDPOINT").map(|(_, value)| value).unwrap_or_default();
    let insecure = of("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    if !is_secure(endpoint, insecure) {
        return Ok(None);
    }
    let mut tls = ClientTlsConfig::new();
    tls = match of("CERTIFICATE") {
        Some((name, path)) => {
            tls.ca_certificate(Certificate::from_pem(read(&name, path, CERTIFICATE)?))
        }
        None => tls.with_enabled_roots(),
    };
    match (of("CLIENT_CERTIFICATE"), of("CLIENT_KEY")) {
        (Some((name, path)), Some((key_name, key_path))) => {
            let certificate = read(&name, path, CERTIFICATE)?;
            let key = read(&key_name, key_path, PRIVATE_KEY)?;
            Ok(Some(tls.identity(Identity::from_pem(certificate, key))))
        }
        (Some((name, _)), None) => {
            Err(format!("{name}: without its key, OTEL_EXPORTER_OTLP_CLIENT_KEY"))
        }
        (None, Some((name, _))) => {
            Err(format!("{name}: without its certificate, OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"))
        }
        (None, None) => Ok(Some(tls)),
    }
}

/// A signal's own variable, or the one for all, with its name.
fn chosen<'a>(
    vars: &'a BTreeMap<String, String>,
    signal: &str,
    name: &str,
) -> Option<(String, &'a str)> {
    let names =
        [format!("OTEL_EXPORTER_OTLP_{signal}_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
    names.into_iter().find_map(|name| {
        let value = vars.get(&name)?.trim();
        (!value.is_empty()).then_some((name, value))
    })
}

/// An endpoint says so by its scheme; one without a scheme is secure unless the variable says not.
fn is_secure(endpoint: &str, insecure: bool) -> bool {
    match endpoint.split_once("://") {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("https"),
        None => !endpoint.is_empty() && !insecure,
    }
}

fn read(name: &str, path: &str, holds: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {path}: {error}"))?;
    if text.contains(holds) {
        Ok(text)
    } else {
        Err(format!("{name}: {path} is no PEM file with {:?}", holds.trim_matches('-')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (format!("OTEL_EXPORTER_OTLP_{k}"), (*v).to_owned())).collect()
    }

    #[test]
    fn the_scheme_says_whether_tls_is_spoken() {
        for (endpoint, insecure, secure) in [
            ("https://collector:4317", false, true),
            ("HTTPS://collector:4317", true, true),
            ("http://collector:4317", false, false),
            ("collector:4317", false, true),
            ("collector:4317", true, false),
            ("", false, false),
        ] {
            assert_eq!(is_secure(endpoint, insecure), secure, "{endpoint:?} {insecure}");
        }
    }

    #[test]
    fn a_signals_own_variable_goes_before_the_one_for_all() {
        let vars = vars(&[("ENDPOINT", "http://all:4317"), ("LOGS_ENDPOINT", "https://logs:4317")]);
        assert!(settings(&vars, "TRACES").expect("plain").is_none());
        assert!(settings(&vars, "LOGS").expect("TLS").is_some());
    }

    #[test]
    fn a_file_that_does_not_fit_is_named_with_its_variable() {
        let folder = env!("CARGO_MANIFEST_DIR");
        let (none, other) = (format!("{folder}/nothing.pem"), format!("{folder}/Cargo.toml"));
        for (name, path) in [("CERTIFICATE", &none), ("TRACES_CERTIFICATE", &other)] {
            let vars = vars(&[("ENDPOINT", "https://collector:4317"), (name, path)]);
            let problem = settings(&vars, "TRACES").expect_err("it is refused");
            let start = format!("OTEL_EXPORTER_OTLP_{name}: {path}");
            assert!(problem.starts_with(&start), "{problem}");
        }
        let alone = vars(&[("ENDPOINT", "https://collector:4317"), ("CLIENT_KEY", &other)]);
        let problem = settings(&alone, "TRACES").expect_err("a key alone is refused");
        assert!(problem.contains("CLIENT_CERTIFICATE"), "{problem}");
    }
}
