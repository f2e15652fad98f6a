use serde::Deserialize;

use axum::http::header::HeaderValue;

use super::body::parse;
use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[expect(dead_code, reason = "only read")]
    n: u8,
}

#[test]
fn a_bad_body_names_the_place() {
    assert!(parse::<Order>(b"").unwrap().lines.is_empty());
    let problem = parse::<Order>(br#"{"lines":[{"n":1},{"n":"x"}]}"#).unwrap_err();
    assert_eq!(
        (problem.kind, problem.errors[0].pointer.as_str()),
        (Kind::InvalidBody, "/lines/1/n")
    );
    assert_eq!(parse::<Order>(b"{").unwrap_err().kind, Kind::MalformedBody);
    assert_eq!(parse::<Order>(b"{} {}").unwrap_err().kind, Kind::MalformedBody);
    assert_eq!(
        parse::<Order>(br#"{"line":[]}"#).unwrap_err().kind,
        Kind::InvalidBody
    );
}

#[test]
fn versions_are_read_as_they_are_written() {
    let mut headers = HeaderMap::new();
    assert_eq!(if_match(&headers).unwrap(), None);
    headers.insert(IF_MATCH, etag(17));
    assert_eq!(if_match(&headers).unwrap(), Some(17));
    headers.insert(IF_MATCH, HeaderValue::from_static("*"));
    assert_eq!(if_match(&headers).unwrap_err().kind, Kind::InvalidHeader);
}

#[test]
fn only_bearer_is_taken() {
    let mut headers = HeaderMap::new();
    assert!(bearer(&headers).is_err());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
    assert!(bearer(&headers).is_err());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer abc"));
    assert_eq!(bearer(&headers).unwrap(), "abc");
}
