//! The odd requests.

use super::{CANARY, TRACE, framing};

/// An odd request.
pub(super) struct Case {
    pub(super) what: String,
    pub(super) request: Vec<u8>,
    /// `404`, or `422 name` with the fields that are named.
    pub(super) answer: &'static str,
}

/// A request as bytes. Lines of headers end with CR/LF, which the caller leaves out.
pub(super) fn raw(line: &[u8], headers: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut request = line.to_vec();
    request.extend(b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for header in headers {
        request.extend(*header);
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    request.extend(body);
    request
}

pub(super) fn case(what: impl Into<String>, request: Vec<u8>, answer: &'static str) -> Case {
    Case {
        what: what.into(),
        request,
        answer,
    }
}

pub(super) fn get(path: &str) -> Vec<u8> {
    raw(format!("GET {path}").as_bytes(), &[], b"")
}

fn post(body: &[u8], more: &[&[u8]]) -> Vec<u8> {
    let length = format!("content-length: {}", body.len());
    let mut headers: Vec<&[u8]> = vec![length.as_bytes(), b"content-type: application/json"];
    headers.extend(more);
    raw(b"POST /register", &headers, body)
}

fn register(name: &str, email: &str) -> Vec<u8> {
    let body = serde_json::json!({"name": name, "email": email});
    post(body.to_string().as_bytes(), &[])
}

fn ids() -> Vec<Case> {
    let long = "x".repeat(10 * 1024);
    let digits = "9".repeat(100);
    let all: [(&str, &str); 26] = [
        ("with `.`", "1.2"),
        ("`*`", "*"),
        ("`>`", "%3E"),
        ("a subject of NATS", "svc.database.get_user"),
        ("`$SRV.PING`", "$SRV.PING"),
        ("NUL", "%00"),
        ("CR/LF and a header", "1%0d%0aX-Evil:%201"),
        ("no UTF-8", "%ff%fe"),
        ("broken percent-encoding", "%zz"),
        ("10 KB", &long),
        ("100 digits", &digits),
        ("beyond 64 bits", "9223372036854775808"),
        ("negative", "-1"),
        ("with a sign", "+1"),
        ("with a leading zero", "01"),
        ("in another notation", "1e0"),
        ("hexadecimal", "0x1"),
        ("a digit of another script", "%D9%A1"),
        ("with a blank", "1%20"),
        ("turned round (U+202E)", "%E2%80%AE1"),
        ("emoji", "%F0%9F%A6%80"),
        ("two levels up", "..%2f..%2fetc%2fpasswd"),
        ("with an encoded slash", "1%2F2"),
        ("SQL", "1'%20OR%20'1'='1"),
        ("a script", "%3Cscript%3Ealert(1)%3C/script%3E"),
        ("a template", "%7B%7B7*7%7D%7D"),
    ];
    let mut cases: Vec<Case> = all
        .into_iter()
        .map(|(what, id)| case(format!("id: {what}"), get(&format!("/user/{id}")), "404"))
        .collect();
    cases.push(case("id: `>` as it is", get("/user/>"), "400, no body"));
    cases.push(case("id: none", get("/user/"), "404"));
    cases.push(case(
        "id: raw bytes that are no UTF-8",
        raw(b"GET /user/\xff\xfe", &[], b""),
        "400, no body",
    ));
    cases.push(case(
        "id: turned round (U+202E), as it is",
        raw("GET /user/\u{202e}1".as_bytes(), &[], b""),
        "404",
    ));
    cases.push(case(
        "path: 70 KB",
        get(&format!("/user/{}", "x".repeat(70_000))),
        "431, no body",
    ));
    cases.push(case(
        "id: 10,000 control characters",
        get(&format!("/user/{}", "%01".repeat(10_000))),
        "404",
    ));
    cases
}

fn names_and_addresses() -> Vec<Case> {
    let long = "x".repeat(320);
    let long_address = format!("{long}@example.com");
    let good = "david@example.com";
    let all: [(&str, &str, &str, &'static str); 27] = [
        (
            "name: CR/LF and a header",
            "hostile-canary\r\nBcc: a@b.c",
            good,
            "422 name",
        ),
        ("name: NUL", "hostile-canary\0", good, "422 name"),
        (
            "name: escape sequence of a terminal",
            "\u{1b}[2J",
            good,
            "422 name",
        ),
        (
            "name: turned round (U+202E)",
            "hostile-canary\u{202e}",
            good,
            "422 name",
        ),
        (
            "name: a line separator (U+2028)",
            "hostile-canary\u{2028}x",
            good,
            "422 name",
        ),
        ("name: 320 characters", &long, good, "422 name"),
        ("name: blanks", "  \u{3000} ", good, "422 name"),
        (
            "name: quotes, brackets and an address",
            "\"<x@evil.example>\" , y",
            "q1@example.com",
            "201",
        ),
        (
            "name: an encoded word",
            "=?utf-8?q?=0d=0aBcc:_x?=",
            "q2@example.com",
            "201",
        ),
        ("name: Unicode", "Zoë 🦀 名前", "q3@example.com", "201"),
        (
            "name: SQL",
            "'); DROP TABLE users; -- hostile-canary",
            "q4@example.com",
            "201",
        ),
        (
            "name: a template",
            "{{7*7}} ${7*7} %s%n",
            "hostile-canary@example.com",
            "201",
        ),
        (
            "address: CR/LF and a header",
            "D",
            "hostile-canary@example.com\r\nBcc: a@b.c",
            "422 email",
        ),
        (
            "address: CR/LF in quotes",
            "D",
            "\"d\r\nx\"@example.com",
            "422 email",
        ),
        (
            "address: turned round (U+202E)",
            "D",
            "d\u{202e}d@example.com",
            "422 email",
        ),
        (
            "address: a line separator (U+2028)",
            "D",
            "d\u{2028}d@example.com",
            "422 email",
        ),
        (
            "address: NUL",
            "D",
            "hostile-canary\0@example.com",
            "422 email",
        ),
        ("address: 320 characters", "D", &long_address, "422 email"),
        (
            "address: two",
            "D",
            "hostile-canary@example.com, b@example.com",
            "422 email",
        ),
        (
            "address: with a name",
            "D",
            "D <hostile-canary@example.com>",
            "422 email",
        ),
        (
            "address: an SMTP command",
            "D",
            "d@example.com>\r\nRCPT TO:<x@y.z",
            "422 email",
        ),
        (
            "address: two @",
            "D",
            "hostile-canary@b@example.com",
            "422 email",
        ),
        (
            "address: blanks",
            "D",
            "hostile-canary d@example.com",
            "422 email",
        ),
        ("address: no domain", "D", "d@", "422 email"),
        ("address: no local part", "D", "@example.com", "422 email"),
        (
            "address: dots",
            "D",
            "hostile-canary@example..com",
            "422 email",
        ),
        ("both: empty", "", "", "422 name email"),
    ];
    all.into_iter()
        .map(|(what, name, email, answer)| case(what, register(name, email), answer))
        .collect()
}

fn bodies() -> Vec<Case> {
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(5));
    let big = format!("{{\"name\":\"{}\"}}", "x".repeat(20 * 1024));
    let json: [(&str, &[u8], &'static str); 15] = [
        ("body: none", b"", "400"),
        ("body: half", b"{\"hostile-canary\":", "400"),
        ("body: nested 10,000 deep", nested.as_bytes(), "400"),
        ("body: 20 KB", big.as_bytes(), "413"),
        ("body: no UTF-8", b"{\"name\":\"\xff\"}", "400"),
        ("body: UTF-16", b"\xff\xfe{\0}\0", "400"),
        ("body: a byte order mark", b"\xef\xbb\xbf{}", "400"),
        (
            "body: half a surrogate pair",
            br#"{"name":"\ud800"}"#,
            "400",
        ),
        ("body: more after its end", b"{} {}", "400"),
        ("body: a number beyond all", b"{\"name\":1e999}", "400"),
        ("body: an array", b"[]", "422"),
        ("body: null", b"null", "422"),
        (
            "body: numbers",
            b"{\"name\":1,\"email\":2}",
            "422 name email",
        ),
        (
            "body: objects",
            b"{\"name\":{\"$gt\":\"\"},\"email\":[]}",
            "422 name email",
        ),
        (
            "body: `__proto__`",
            b"{\"__proto__\":{\"name\":\"x\"}}",
            "422 name email",
        ),
    ];
    let mut cases: Vec<Case> = json
        .into_iter()
        .map(|(what, body, answer)| case(what, post(body, &[]), answer))
        .collect();
    for (what, media_type) in [
        ("a form", "application/x-www-form-urlencoded"),
        ("several parts", "multipart/form-data; boundary=x"),
        ("text", "text/plain"),
        ("alike", "application/jsonp"),
    ] {
        let media_type = format!("content-type: {media_type}");
        let headers: [&[u8]; 2] = [b"content-length: 2", media_type.as_bytes()];
        let request = raw(b"POST /register", &headers, b"{}");
        cases.push(case(format!("media type: {what}"), request, "415"));
    }
    cases.push(case(
        "media type: none",
        raw(b"POST /register", &[b"content-length: 2"], b"{}"),
        "415",
    ));
    cases
}

/// What can't be used is as if it were not there.
fn ignored_headers() -> Vec<Case> {
    let good = format!("00-{TRACE}-b7ad6b7169203331-01");
    let trace = |value: &str| format!("traceparent: {value}").into_bytes();
    let zeros = good.replace(TRACE, &"0".repeat(32));
    let long = format!("{CANARY}{}", "a".repeat(8 * 1024));
    let members: Vec<String> = (0..64).map(|n| format!("{CANARY}{n}=1")).collect();
    let states = format!("{good}\r\ntracestate: {}", members.join(","));
    let with = |name: &str, value: &str| format!("{name}: {value}").into_bytes();
    let all = [
        ("`traceparent`: short", trace("00-ab-cd-01")),
        (
            "`traceparent`: a sign",
            trace(&good.replacen("0a", "+a", 1)),
        ),
        ("`traceparent`: upper case", trace(&good.to_uppercase())),
        ("`traceparent`: zeros", trace(&zeros)),
        (
            "`traceparent`: version ff",
            trace(&good.replacen("00", "ff", 1)),
        ),
        ("`traceparent`: 8 KB", trace(&long)),
        ("`traceparent`: no ASCII", b"traceparent: \xff\xfe".to_vec()),
        ("`tracestate`: 64 members", trace(&states)),
        ("`baggage`: 9 KB", with("baggage", &format!("{long}=1"))),
        (
            "`x-request-id`: JSON",
            with("x-request-id", &format!("{{\"{CANARY}\":1}}")),
        ),
        (
            "`x-request-id`: 10 KB",
            with("x-request-id", &CANARY.repeat(700)),
        ),
        (
            "`x-request-id`: no ASCII",
            b"x-request-id: \xc3\xbc".to_vec(),
        ),
        (
            "`request-timeout-ms`: negative",
            with("request-timeout-ms", "-1"),
        ),
        (
            "`request-timeout-ms`: beyond all",
            with("request-timeout-ms", "99999999999999999999"),
        ),
        ("`nats-service-error`", with("nats-service-error", CANARY)),
        ("`x-forwarded-for`", with("x-forwarded-for", CANARY)),
        (
            "`authorization` where nobody asks for it",
            with("authorization", CANARY),
        ),
    ];
    let user =
        |(what, header): (&str, Vec<u8>)| case(what, raw(b"GET /user/1", &[&header], b""), "200");
    all.into_iter().map(user).collect()
}

fn keys() -> Vec<Case> {
    let all: [(&str, &[u8]); 5] = [
        ("256 characters", &[b'x'; 256]),
        ("empty", b""),
        ("a blank in it", b"hostile-canary b"),
        ("no ASCII", b"\xc3\xbc"),
        ("twice", b"a\r\nidempotency-key: b"),
    ];
    let registered = |(what, key): (&str, &[u8])| {
        let header = [b"idempotency-key: ", key].concat();
        let request = post(br#"{"name":"D","email":"k@example.com"}"#, &[&header]);
        case(
            format!("`idempotency-key`: {what}"),
            request,
            "422 Idempotency-Key",
        )
    };
    all.into_iter().map(registered).collect()
}

/// All of them, in the order of the table.
pub(super) fn cases() -> Vec<Case> {
    let all = [
        ids(),
        names_and_addresses(),
        bodies(),
        ignored_headers(),
        keys(),
        framing::framings(),
        framing::methods_and_versions(),
    ];
    all.into_iter().flatten().collect()
}
