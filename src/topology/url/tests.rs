use proptest::prelude::*;

use super::*;

fn parse(url: &str) -> Result<StoreUrl> {
    StoreUrl::parse(url, Path::new("/srv/a"))
}

#[test]
fn relative_paths_are_relative_to_the_base() {
    let url = parse("sqlite:../b/./users.sqlite").unwrap();
    assert_eq!(url.to_string(), "sqlite:/srv/b/users.sqlite");
    assert_eq!(url.local_path().unwrap(), Path::new("/srv/b/users.sqlite"));
    assert_eq!(StoreUrl::try_from(url.to_string()).unwrap(), url);
    assert_eq!(parse("file:///x").unwrap().to_string(), "file:/x");
    assert_eq!(parse("file:///srv/@home?/a:b").unwrap().to_string(), "file:/srv/@home?/a:b");
}

#[test]
fn nonsense_is_refused() {
    for url in [
        "users.sqlite",
        "sqlite:",
        "file://",
        "mysql://host/db",
        "postgres:db",
        "postgres://host",
        "s3://",
        "",
    ] {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidValue, "{url}");
        assert!(!error.advice.is_empty());
    }
    use std::os::unix::ffi::OsStrExt;
    let base = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
    assert_eq!(StoreUrl::parse("file:x", base).unwrap_err().kind, ErrorKind::InvalidValue);
    StoreUrl::parse("file:/x", base).unwrap();
}

#[test]
fn what_cannot_be_opened_yet_is_read_in_one_spelling_and_refused_by_name() {
    for (url, spelling) in [
        ("postgresql://Anna@DB.example.com:5432/users/", "postgres://Anna@db.example.com/users"),
        (
            "postgres://[::1]:5433/u?sslmode=verify-full&application_name=x",
            "postgres://[::1]:5433/u?application_name=x&sslmode=verify-full",
        ),
        ("postgres://a@h/u?password-file=../pw", "postgres://a@h/u?password-file=%2Fsrv%2Fpw"),
        ("postgres://a@h/u?password-env=PGPASSWORD", "postgres://a@h/u?password-env=PGPASSWORD"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("az://container", "az://container"),
    ] {
        let parsed = parse(url).unwrap();
        assert_eq!(parsed.to_string(), spelling);
        let error = parsed.require(parsed.engine().is_database()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.contains(&format!("{}:", parsed.engine().scheme())), "{error}");
    }
    for url in [
        "postgres://h/u?password-file=",
        "postgres://h/u?password-file=a&password-env=b",
        "postgres://h/a/b",
        "s3://b#x",
    ] {
        assert_eq!(parse(url).unwrap_err().kind, ErrorKind::InvalidValue, "{url}");
    }
}

/// Everything that could show a URL, or the error that it was refused with.
fn everything_shown(url: &str) -> String {
    let parsed = parse(url);
    let json = parsed.as_ref().map(|url| serde_json::to_string(url).unwrap()).unwrap_or_default();
    let refused =
        parsed.as_ref().err().map(|error| serde_json::to_string(error).unwrap()).unwrap_or_default();
    let read: std::result::Result<StoreUrl, _> = serde_json::from_value(url.into());
    let shown = parsed.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("{parsed:?} {shown} {json} {refused} {read:?}")
}

#[test]
fn a_password_in_a_url_is_refused_and_never_repeated() {
    const PLANTED: &str = "pl4nted";
    for url in [
        "postgres://anna:pl4nted@host/db",
        "postgres://anna%3Apl4nted@host/db",
        "postgres://:pl4nted@host/db",
        "postgres://anna:x@pl4nted@host/db",
        "postgres://anna:5/pl4nted@host/db",
        "postgres://anna:5?pl4nted@host/db",
        "postgres://anna:5#pl4nted@host/db",
        "postgres://anna:[pl4nted@host/db",
        "postgresql://host/db?password=pl4nted",
        "postgres://host/db?PassWord=pl4nted",
        "postgres://host/db?pass%77ord=pl4nted",
        "postgres://host/db?sslpassword=pl4nted&sslmode=require",
        "postgres://host/db?options=-c%20password%3Dpl4nted",
        "s3://bucket/p?secret_access_key=pl4nted",
        "s3://bucket/p?aws-session-token=pl4nted",
        "az://container/p?sig=pl4nted",
        "az://container/p?account_key=pl4nted",
        "mysql://anna:pl4nted@host/db",
        "sqlite:users.sqlite?password=pl4nted",
        "file://anna:pl4nted@server/share",
        "anna:pl4nted@host/db",
        "pl4nted",
    ] {
        assert!(parse(url).is_err(), "{url} was taken");
        assert!(!everything_shown(url).contains(PLANTED), "{}", everything_shown(url));
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 _.~%äß&=+,;-]{1,12}"
}

fn urls() -> impl Strategy<Value = String> {
    let path = || proptest::collection::vec(word(), 1..4).prop_map(|words| words.join("/"));
    let parameters = || {
        proptest::collection::vec(("[a-z_]{1,6}", word()), 0..3).prop_map(|pairs| {
            let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
        })
    };
    let authority = || {
        ("([a-z%. ]{1,8}@)?", "[a-zA-Z0-9.-]{1,12}", "(:[1-9][0-9]{0,3})?")
            .prop_map(|(user, host, port)| format!("{user}{host}{port}"))
    };
    prop_oneof![
        ("(sqlite|file)", "(:|://)", "/?", path()).prop_map(|(s, c, r, p)| format!("{s}{c}{r}{p}")),
        ("(postgres|postgresql)", authority(), word(), parameters())
            .prop_map(|(s, a, d, q)| format!("{s}://{a}/{d}{q}")),
        ("(s3|az)", authority(), path(), parameters()).prop_map(|(s, a, p, q)| format!("{s}://{a}/{p}{q}")),
    ]
}

proptest! {
    #[test]
    fn what_is_shown_is_read_back(url in urls()) {
        if let Ok(parsed) = parse(&url) {
            let shown = parsed.to_string();
            let again = StoreUrl::parse(&shown, Path::new("/elsewhere")).unwrap();
            prop_assert_eq!(&again, &parsed);
            prop_assert_eq!(again.to_string(), shown);
            let json = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(serde_json::from_str::<StoreUrl>(&json).unwrap(), parsed);
        }
    }

    #[test]
    fn no_text_makes_the_parser_fail_otherwise(url in "(sqlite:|file:|postgres://|s3://|az://)?[^\u{0}]{0,20}") {
        let _ = parse(&url);
    }
}
