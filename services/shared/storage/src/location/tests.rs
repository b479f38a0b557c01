use super::*;

fn parse(text: &str) -> Result<Location, String> {
    Location::parse(text, Path::new("/data")).map_err(|e| e.to_string())
}

fn shown(text: &str) -> String {
    parse(text).unwrap().to_string()
}

#[test]
fn a_path_is_a_file_under_the_data_folder_or_absolute() {
    assert_eq!(parse("flags.db"), Ok(Location::Sqlite("/data/flags.db".into())));
    assert_eq!(parse("a b/f.db"), Ok(Location::Sqlite("/data/a b/f.db".into())));
    assert_eq!(parse("/var/lib/x.db"), Ok(Location::Sqlite("/var/lib/x.db".into())));
}

#[test]
fn a_url_is_a_database_of_a_server() {
    let check = |text, expected| assert_eq!(shown(text), expected, "{text}");
    check("postgres://ann@db.example/flags", "postgres://ann@db.example:5432/flags");
    check("postgresql://ann@db:5433/flags", "postgres://ann@db:5433/flags");
    check("postgres://ann@[::1]:5433/flags", "postgres://ann@[::1]:5433/flags");
    check("postgres:///t?host=/run/pg&user=ann", "postgres:///t?host=/run/pg&user=ann");
    check("postgres://ann@%2Frun%2Fpg/t", "postgres:///t?host=/run/pg&user=ann");
    check("postgres://ann@h?dbname=t&sslmode=verify-full", "postgres://ann@h:5432/t");
    check("postgres://ann@h/t?options[search_path]=x", "postgres://ann@h:5432/t");
}

#[test]
fn a_setting_leads_to_the_same_place_from_any_folder() {
    for text in ["flags.db", "/x.db", "postgres://ann:pw@h/t?sslmode=require"] {
        let location = parse(text).unwrap();
        let again = Location::parse(&location.to_setting(), Path::new("/elsewhere"));
        assert_eq!(again, Ok(location));
    }
}

#[test]
fn a_setting_that_is_neither_is_refused_with_what_was_expected() {
    let check = |text: &str, problem: &str| {
        let error = parse(text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
        assert!(error.contains("expected the path of a SQLite file, or postgres://"), "{error}");
    };
    check("", "empty");
    check("  ", "empty");
    check(":memory:", "no file");
    check("folder/", "no file");
    check("mysql://h/t", "databases of \"mysql\" are not known");
    check("sqlite://f.db", "databases of \"sqlite\" are not known");
    check("postgres:ann@h/t", "does not begin with postgres://");
    check("host=h dbname=t password=x", "does not begin with postgres://");
    check("postgres://h", "names no database");
    check("postgres://h/", "names no database");
    check("postgres:///t", "names no host");
    check("postgres://", "names no host");
    check("postgres://ann@/t", "names no host");
    check("postgres://h:port/t", "invalid port number");
    check("postgres://h:70000/t", "invalid port number");
    check("postgres://h/t?sslmode=maybe", "maybe");
    check("postgres://h/t?port=x", "invalid digit");
    check("postgres://h/t?colour=red", "the parameter \"colour\"; known are options[..], sslmode");
}

/// Whatever a password holds, and however the URL is wrong, no part of it is shown.
#[test]
fn a_password_is_never_shown() {
    let check = |text: &str| {
        let got = Location::parse(text, Path::new("/data"));
        let setting = DatabaseSetting::from(text);
        let json = serde_json::to_string(&setting).unwrap();
        let shown = match &got {
            Ok(location) => format!("{location} {location:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        let shown = format!("{shown} {setting} {setting:?} {json}");
        for part in ["s3cr", "t0ken"] {
            assert!(!shown.contains(part), "{text}: {shown}");
        }
    };
    for mark in
        ["", "%40", "@", "/", "?", "#", "?x=", "&", ":", "://", "%", "%2F", " ", "\"", "[", "\\"]
    {
        check(&format!("postgres://ann:s3cr{mark}t0ken@h/t"));
        check(&format!("postgres://ann:s3cr{mark}t0ken@h:port/t"));
        check(&format!("postgres://ann:1{mark}s3cr@h/t"));
        check(&format!("postgres://ann:s3cr{mark}t0ken@/t"));
        check(&format!("postgres:///t?host=/run&user=ann&password=s3cr{mark}t0ken"));
        check(&format!("postgres:///t?user=ann&password=s3cr{mark}t0ken"));
        check(&format!("mysql://ann:s3cr{mark}t0ken@h/t"));
        check(&format!("postgres:ann:s3cr{mark}t0ken@h/t"));
        check(&format!("user=ann password=s3cr{mark}t0ken"));
        check(&format!("Postgres://ann:s3cr{mark}t0ken@h/t"));
    }
}

#[test]
fn a_setting_reads_as_text_and_prints_without_password() {
    let read = |json: &str| serde_json::from_str::<DatabaseSetting>(json).unwrap();
    let path = read("\"flags.db\"");
    assert_eq!(serde_json::to_string(&path).unwrap(), "\"flags.db\"");
    let url = read("\"postgres://ann:pw@h/t\"");
    assert_eq!(url.to_string(), "postgres://ann@h:5432/t");
    let location = url.locate(Path::new("/")).unwrap();
    assert_eq!(location.to_setting(), "postgres://ann:pw@h/t");
    assert_eq!(DatabaseSetting::from(&location), url);
}
