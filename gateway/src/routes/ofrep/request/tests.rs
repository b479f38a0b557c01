use super::*;

fn read(body: &str) -> Context<'_> {
    Context::read(body.as_bytes()).unwrap()
}

#[test]
fn keys_are_decoded_or_refused_and_never_repeated_whole() {
    assert_eq!(Key::read("autofix_enabled").setting, Ok(Setting::AutofixEnabled));
    assert_eq!(Key::read("autofix%5Fenabled").setting, Ok(Setting::AutofixEnabled));
    for unknown in ["nope", "__proto__", "..%2f..%2fetc", "%00", "a%20b", "Autofix_enabled"] {
        assert_eq!(Key::read(unknown).setting, Err(Refused::NotFound), "{unknown}");
    }
    let long = "x".repeat(5000);
    for bad in ["%ff", "%", "%4", "%zz", "%C3%28", &long] {
        let key = Key::read(bad);
        assert!(matches!(key.setting, Err(Refused::Malformed(_))), "{bad}");
        assert!(key.shown.chars().count() <= KEY_CHARS_MAX);
    }
    let wide = "%C3%A9".repeat(KEY_CHARS_MAX);
    assert_eq!(Key::read(&wide).setting, Err(Refused::NotFound));
}

#[test]
fn only_two_attributes_count() {
    let text = |text| Attribute::Text(Cow::Borrowed(text));
    for nothing in ["", " ", "{}", r#"{"context":null}"#, r#"{"context":{}}"#, r#"{"x":[1]}"#] {
        assert_eq!(read(nothing), Context::default(), "{nothing}");
    }
    let both =
        r#"{"context":{"targetingKey":null,"tenantId":"a","x":{"tenantId":"b"},"runId":"r"}}"#;
    assert_eq!(read(both), Context { tenant: text("a"), run: text("r") });
    assert_eq!(read(r#"{"context":{"tenantId":"\u0061"}}"#).tenant, text("a"));
    assert_eq!(read(r#"{"context":{"tenantId":null}}"#).tenant, Attribute::Absent);
    for other in ["42", "-1", "1.5", "true", "[]", "[[1]]", "{}", r#"{"a":[{}]}"#] {
        let body = format!(r#"{{"context":{{"tenantId":{other},"runId":{other}}}}}"#);
        let expected = Context { tenant: Attribute::Other, run: Attribute::Other };
        assert_eq!(read(&body), expected, "{other}");
    }
}

#[test]
fn a_body_of_another_form_is_refused() {
    for (body, json) in [
        ("{nope", true),
        ("{", true),
        (r#"{"context":{}} x"#, true),
        (r#"{"context":{"a":1e309}"#, true),
        ("[]", false),
        ("null", false),
        (r#"[{"tenantId":"a"}]"#, false),
        (r#"{"context":"x"}"#, false),
        (r#"{"context":[1]}"#, false),
        (r#"{"context":{},"context":{}}"#, false),
        (r#"{"context":{"tenantId":"a","tenantId":"b"}}"#, false),
    ] {
        let refused = Context::read(body.as_bytes()).unwrap_err();
        assert_eq!(matches!(refused, Refused::Json { .. }), json, "{body}: {refused:?}");
        assert_eq!(matches!(refused, Refused::Context { .. }), !json, "{body}: {refused:?}");
    }
    let deep = format!(r#"{{"context":{{"tenantId":{}"#, "[".repeat(60_000));
    assert!(Context::read(deep.as_bytes()).is_err());
}
