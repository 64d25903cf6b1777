//! That the schema is one, that it knows every key, and that it never refuses what is taken.

use std::cell::RefCell;

use boon::{Compiler, SchemaIndex, Schemas};
use proptest::prelude::*;
use proptest::string::string_regex;
use toml::de::DeValue;

use super::super::scalar;
use super::*;

thread_local! {
    static MANIFEST: RefCell<(Schemas, SchemaIndex)> = RefCell::new(compiled(json_schema()));
}

fn compiled(schema: Value) -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", schema).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    (schemas, index)
}

/// The schema's verdict on a manifest.
pub(in crate::plan) fn validate(manifest: &str) -> Result<(), String> {
    let text = manifest.strip_prefix('\u{feff}').unwrap_or(manifest);
    let value: Value = toml::from_str(text).unwrap();
    MANIFEST
        .with_borrow(|(schemas, index)| schemas.validate(&value, *index).map_err(|error| error.to_string()))
}

fn is_taken(shape: &Shape, text: &str) -> bool {
    scalar::read(shape, &DeValue::String(text.into())).is_ok()
}

fn is_valid(shape: &Shape, text: &str) -> bool {
    let (schemas, index) = compiled(value(shape));
    schemas.validate(&text.into(), index).is_ok()
}

#[test]
fn every_key_has_its_type_and_its_meaning() {
    fn walk(schema: &Value, place: &str, count: &mut usize) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            *count += 1;
            let place = format!("{place}.{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{place}: its style");
            assert!(property["description"].as_str().is_some_and(|text| text.contains('.')), "{place}");
            assert!(property["type"].is_string(), "{place}");
            let mut inner = property;
            while let Some(next) =
                [&inner["items"], &inner["additionalProperties"]].iter().find(|v| v.is_object())
            {
                inner = next;
            }
            walk(inner, &place, count);
        }
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{place}: a mistyped key passes");
        }
    }
    let mut count = 0;
    walk(&json_schema(), "", &mut count);
    assert_eq!(count, 63);
}

#[test]
fn a_default_is_valid_and_is_told() {
    fn walk(schema: &Value) {
        for property in schema["properties"].as_object().into_iter().flat_map(|map| map.values()) {
            if let Some(default) = property.get("default") {
                let (schemas, index) = compiled(property.clone());
                assert!(schemas.validate(default, index).is_ok(), "{property:#}");
                assert!(property["description"].as_str().unwrap().contains("Default: `"), "{property:#}");
            }
            walk(property);
            walk(&property["items"]);
            walk(&property["additionalProperties"]);
        }
    }
    walk(&json_schema());
}

/// An editor shows each word of a key with its meaning.
#[test]
fn words_come_with_their_meaning() {
    let schema = json_schema();
    let signals = &schema["properties"]["app"]["properties"]["signals"];
    assert_eq!(signals["enum"], json!(["standard", "nginx"]));
    assert_eq!(signals["x-taplo"]["docs"]["enumValues"], signals["enumDescriptions"]);
    assert_eq!(signals["enumDescriptions"][0], "TERM and INT stop gracefully.");
    assert_eq!(
        signals["description"],
        "The table of signals that holds while the app runs. Default: `\"standard\"`.\n\n- `standard`: TERM and INT stop gracefully.\n\
         - `nginx`: TERM and INT stop at once, QUIT stops gracefully."
    );
}

#[test]
fn what_is_wrong_is_refused() {
    let web = "[component.web]\nsource = \"web.wasm\"\n";
    assert_eq!(validate(web), Ok(()));
    for (text, why) in [
        ("[app]\nname = \"x\"", "component"),
        ("[component]", "component"),
        (&format!("[app]\ngrase = \"1s\"\n{web}"), "grase"),
        (&format!("[app]\ngrace = 10\n{web}"), "string"),
        (&format!("[app]\ngrace = \"10\"\n{web}"), "pattern"),
        (&format!("[app]\nsignals = \"apache\"\n{web}"), "nginx"),
        (&format!("[other]\n{web}"), "other"),
        ("[component.web]\nlisten = []", "source"),
        ("[component.Web]\nsource = \"w\"", "Web"),
        (&format!("{web}memory = \"64MB\""), "pattern"),
        (&format!("{web}args = \"-v\""), "array"),
        (&format!("{web}stdin = \"yes\""), "boolean"),
        (&format!("{web}dirs = [{{ host = \"data\" }}]"), "guest"),
        (&format!("{web}instances = {{ max = 0 }}"), "1"),
        (&format!("{web}restart = {{ backoff = [\"1s\"] }}"), "backoff"),
        (&format!("{web}env = {{ \"A=B\" = \"x\" }}"), "A=B"),
        (&format!("{web}env = {{ A = 1 }}"), "string"),
    ] {
        let told = validate(text).expect_err(text);
        assert!(told.contains(why), "{text}\n{told}");
    }
}

const ANY_TIME: Shape = Shape::Duration { zero: true };
const TIME: Shape = Shape::Duration { zero: false };
const SIZE: Shape = Shape::Size { min: 1, max: u64::MAX };

/// For each shape of text: some that are taken, and some mistakes that an editor marks.
const TEXTS: &[(Shape, &[&str], &[&str])] = &[
    (Shape::Text, &["", "x\ny"], &[]),
    (Shape::Label, &["shop", "my shop é"], &["", "a\nb"]),
    (Shape::Component, &["a", "0", "web-1_b"], &["", "Web", "-a", "a.b"]),
    (Shape::Path, &["web.wasm", "/x y/é"], &[""]),
    (Shape::GuestPath, &["/data", "."], &[""]),
    (Shape::RequestPath, &["/", "/healthz?deep=1", "/a%20b\"{}|"], &["", "healthz", "/a#b", "/a b"]),
    (ANY_TIME, &["0s", "250ms", "1.5s", "007m", "8760h"], &["10", "1.s", "-1s", "10 s", "1h30m", "1d"]),
    (TIME, &["0.000001ms", "00.10s", "10.0h", "1m"], &["0s", "0.0s", "10"]),
    (SIZE, &["1B", "64MiB", "1.5GiB", "0.5KiB"], &["64MB", "64", "0B"]),
    (
        Shape::Address,
        &["127.0.0.1:0", "[::1]:80", "[fe80::1%3]:0080", "0.0.0.0:65535"],
        &["localhost:80", ":80", "1.2.3:80", "1.2.3.256:1", "1.2.3.4:65536", "::1"],
    ),
    (
        Shape::ListenAddress,
        &["[::ffff:127.0.0.1]:80", "unix:web.sock", "unix:/run/a b", "unix:/a", "fd:web", "fd:a b/c.socket"],
        &["web.sock", "unix:", "unix:/", "unix://x", "unix:a/", "fd:", "fd:a:b", "fd:é"],
    ),
    (
        Shape::Route,
        &[
            "/",
            "/static/",
            "/a/b%20c/~d;e=f",
            "API.Example.com./v1/",
            "*.a.b",
            "[0:0::1]/x",
            "127.0.0.1",
            "a_b./.x",
            "localhost/x",
        ],
        &[
            "", "*", "/*", "a:80", "http://a", "/a//b", "//a", "/a b", "/a%2", "a/x?y", "a.*.com", "api",
            "api/v1",
        ],
    ),
    (
        Shape::Peer,
        &["*", "*:*", "127.0.0.1:6379", "[::1]:*", "db.Example.com.:5432", "redis:00080"],
        &["redis", "redis:", "redis:65536", "http://redis:80", "a b:80", ":80"],
    ),
    (
        Shape::Origin,
        &[
            "https://api.example.com",
            "http://*.internal:8080/",
            "https://*:*",
            "http://[::1]",
            "https://10.0.0.1:1",
        ],
        &[
            "api.example.com",
            "ftp://a",
            "https://a/b",
            "https://",
            "https://a:x",
            "https://*a.com",
            "https://u@a",
        ],
    ),
];

#[test]
fn common_mistakes_are_marked_and_what_is_taken_is_not() {
    for (shape, taken, mistaken) in TEXTS {
        for text in *taken {
            assert!(is_taken(shape, text) && is_valid(shape, text), "{shape:?}: {text:?}");
        }
        for text in *mistaken {
            assert!(!is_taken(shape, text) && !is_valid(shape, text), "{shape:?}: {text:?}");
        }
    }
}

/// Texts that are nearly right, so that many of them are right.
fn nearly(shape: Shape) -> &'static str {
    match shape {
        Shape::Component => "[a-z0-9][a-zA-Z0-9_-]{0,66}",
        Shape::RequestPath => "/[!-~]{0,12}|\\PC{0,8}",
        Shape::Duration { .. } => "[0-9]{1,4}(\\.[0-9]{1,10})?(ms|s|m|h)|0{1,30}[0-9.]{0,8}(ms|s)",
        Shape::Size { .. } => "[0-9]{1,4}(\\.[0-9]{1,10})?(B|KiB|MiB|GiB)|0{1,30}[0-9.]{0,8}MiB",
        Shape::Address | Shape::ListenAddress => {
            "([0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[(::|::1|fe80::1%[0-9]{1,3}|::ffff:1\\.2\\.3\\.4|[0-9a-f:]{2,9})\\]):[0-9]{1,6}\
             |(unix|fd):[ -~]{0,8}|unix:\\PC{0,8}|fd:[a-z]{250,260}"
        }
        Shape::Route => "((\\*\\.)?[a-zA-Z0-9_.-]{1,9}|\\[::[0-9a-f]{0,4}\\])?(/[ -~]{0,5}){0,3}|[!-~]{0,9}",
        Shape::Peer => {
            "([a-zA-Z0-9_.-]{1,9}|\\*|\\[::[0-9a-f]{0,4}\\]|[0-9]{1,3}(\\.[0-9]{1,3}){3}):([0-9]{1,6}|\\*)"
        }
        Shape::Origin => {
            "https?://((\\*\\.)?[a-zA-Z0-9_.-]{1,9}|\\*|\\[::[0-9a-f]{0,4}\\]|[0-9]{1,3}(\\.[0-9]{1,3}){3})(:([0-9]{1,6}|\\*))?/?"
        }
        _ => "\\PC{0,66}",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_that_is_taken_is_refused(
        (shape, text) in prop::sample::select(TEXTS).prop_flat_map(|(shape, _, _)| {
            (Just(shape), string_regex(nearly(shape)).unwrap())
        })
    ) {
        prop_assert!(!is_taken(&shape, &text) || is_valid(&shape, &text), "{:?}: {:?}", shape, text);
    }
}
