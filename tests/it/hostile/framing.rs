//! Odd messages: lengths, heads, methods, versions.

use super::{
    CANARY,
    cases::{Case, case, get, raw},
};

pub(super) fn framings() -> Vec<Case> {
    let user = |header: &[u8]| raw(b"GET /user/1", &[header], b"");
    let with = |name: &str, value: &str| user(format!("{name}: {value}").as_bytes());
    vec![
        case("a header with NUL", user(b"x-odd: a\0b"), "400, no body"),
        case(
            "a header's name with a blank",
            user(b"x odd: a"),
            "400, no body",
        ),
        case(
            "200 headers",
            raw(b"GET /user/1", &vec![&b"x-odd: 1"[..]; 200], b""),
            "431, no body",
        ),
        case(
            "headers of 100 KB",
            with("x-odd", &"x".repeat(100 * 1024)),
            "431, no body",
        ),
        case(
            "a body where nobody reads one",
            raw(b"GET /user/1", &[b"content-length: 2"], b"{}"),
            "200",
        ),
        case(
            "two lengths",
            raw(
                b"POST /register",
                &[b"content-length: 2", b"content-length: 3"],
                b"{}",
            ),
            "400, no body",
        ),
        case(
            "a length that is none",
            raw(b"POST /register", &[b"content-length: -1"], b""),
            "400, no body",
        ),
        case(
            "a broken chunk",
            raw(
                b"POST /register",
                &[
                    b"content-type: application/json",
                    b"transfer-encoding: chunked",
                ],
                b"zz\r\n",
            ),
            "400",
        ),
    ]
}

pub(super) fn methods_and_versions() -> Vec<Case> {
    let mut cases: Vec<Case> = ["DELETE", "PUT", "PATCH", "TRACE", "PROPFIND", "GETX"]
        .into_iter()
        .map(|method| {
            let request = raw(format!("{method} /register").as_bytes(), &[], b"");
            case(format!("method: {method}"), request, "405")
        })
        .collect();
    cases.extend([
        case(
            "method: OPTIONS",
            raw(b"OPTIONS /register", &[], b""),
            "204, no body",
        ),
        case(
            "method: OPTIONS *",
            raw(b"OPTIONS *", &[], b""),
            "204, no body",
        ),
        case(
            "method: HEAD",
            raw(b"HEAD /user/1", &[], b""),
            "200, no body",
        ),
        case(
            "method: HEAD of nobody",
            raw(b"HEAD /user/99", &[], b""),
            "404, no body",
        ),
        case(
            "method: CONNECT",
            b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(),
            "404",
        ),
        case(
            "path: of another server",
            get("http://evil.example/user/1"),
            "200",
        ),
        case("path: `//user/1`", get("//user/1"), "404"),
        case("path: `/user/1/`", get("/user/1/"), "404"),
        case("path: `/../user/1`", get("/../user/1"), "404"),
        case("path: a query", get(&format!("/user/1?{CANARY}=1")), "200"),
        case(
            "version: HTTP/9.9",
            b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            "400, no body",
        ),
        case(
            "version: HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            "closed",
        ),
        case(
            "no HTTP: TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            "400, no body",
        ),
        case("no HTTP: zeros", vec![0; 64], "400, no body"),
    ]);
    cases
}
