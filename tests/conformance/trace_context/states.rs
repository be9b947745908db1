//! The suite's cases of `tracestate`.

use super::Header;

/// A request of the suite.
pub(super) struct Request {
    /// The name of its test.
    pub(super) test: &'static str,
    /// Its `tracestate`, or what is called nearly so.
    pub(super) states: Vec<Header>,
    /// What goes on.
    pub(super) goes_on: String,
    /// Why the suite expects another thing.
    departs: Option<&'static str>,
}

impl Request {
    pub(super) fn case(&self) -> String {
        let why = self.departs.unwrap_or("as the suite expects");
        format!("{} {:?}: {why}", self.test, self.states)
    }

    fn but(self, goes_on: &str, why: &'static str) -> Self {
        Self {
            goes_on: goes_on.to_owned(),
            departs: Some(why),
            ..self
        }
    }
}

const CASED: &str = "names of NATS headers have case, and ours are lower: docs/protocol.md";
const API: &str = "OpenTelemetry's type can't hold a key with two @, or with more than 13 bytes \
    behind one. A member MAY be deleted, and the others go on";

fn request(test: &'static str, states: &[&str], goes_on: &str) -> Request {
    let states = states.iter();
    Request {
        test,
        states: states
            .map(|state| ("tracestate", (*state).to_owned()))
            .collect(),
        goes_on: goes_on.to_owned(),
        departs: None,
    }
}

fn named(test: &'static str, name: &'static str, goes_on: &str) -> Request {
    Request {
        states: vec![(name, "foo=1".to_owned())],
        ..request(test, &[], goes_on)
    }
}

/// Each request that has a good `traceparent` as well.
pub(super) fn requests() -> Vec<Request> {
    let groups = [names(), lists(), duplicates(), characters(), blanks()];
    let more = [keys(), counts(), lengths(), values()];
    groups.into_iter().chain(more).flatten().collect()
}

/// `bar01=01` and so on, as the suite spells them.
fn bars(numbers: std::ops::RangeInclusive<u32>) -> String {
    let bars = numbers.map(|number| format!("bar{number:02}={number:02}"));
    bars.collect::<Vec<_>>().join(",")
}

fn names() -> Vec<Request> {
    let cased = "test_tracestate_header_name_valid_casing";
    vec![
        named("test_tracestate_header_name", "trace-state", ""),
        named("test_tracestate_header_name", "trace.state", ""),
        named(cased, "TraceState", "foo=1").but("", CASED),
        named(cased, "TrAcEsTaTe", "foo=1").but("", CASED),
        named(cased, "TRACESTATE", "foo=1").but("", CASED),
    ]
}

fn lists() -> Vec<Request> {
    let included = "test_tracestate_included_traceparent_included";
    let empty = "test_tracestate_empty_header";
    let several = "test_tracestate_multiple_headers_different_keys";
    vec![
        request(included, &["foo=1,bar=2"], "foo=1,bar=2"),
        request(empty, &[""], ""),
        request(empty, &["foo=1", ""], "foo=1"),
        request(empty, &["", "foo=1"], "foo=1"),
        request(
            several,
            &["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
            "foo=1,bar=2,rojo=1,congo=2,baz=3",
        ),
    ]
}

/// Kept as they are, or one of each: the suite takes both.
fn duplicates() -> Vec<Request> {
    let test = "test_tracestate_duplicated_keys";
    vec![
        request(test, &["foo=1,foo=1"], "foo=1,foo=1"),
        request(test, &["foo=1,foo=2"], "foo=1,foo=2"),
        request(test, &["foo=1", "foo=1"], "foo=1,foo=1"),
        request(test, &["foo=1", "foo=2"], "foo=1,foo=2"),
    ]
}

fn characters() -> Vec<Request> {
    let test = "test_tracestate_all_allowed_characters";
    let key = format!("{}0123456789_-*/", ('a'..='z').collect::<String>());
    let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
    let plain = format!("{key}={value}");
    let with_vendor = format!("{key}@a-z0-9_-*/={value}");
    vec![
        request(test, &[&plain], &plain),
        request(test, &[&with_vendor], &with_vendor),
    ]
}

fn blanks() -> Vec<Request> {
    let test = "test_tracestate_ows_handling";
    let three = "foo=1,bar=2,baz=3";
    vec![
        request(test, &["foo=1 \t , \t bar=2, \t baz=3"], three),
        request(test, &["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], three),
        request(test, &[" foo=1"], "foo=1"),
        request(test, &["\tfoo=1"], "foo=1"),
        request(test, &["foo=1 "], "foo=1"),
        request(test, &["foo=1\t"], "foo=1"),
        request(test, &["\t foo=1 \t"], "foo=1"),
    ]
}

fn keys() -> Vec<Request> {
    let illegal = "test_tracestate_key_illegal_characters";
    let at = "test_tracestate_key_illegal_vendor_format";
    let same = |state| request(at, &[state], state);
    vec![
        request(illegal, &["foo =1"], ""),
        request(illegal, &["FOO=1"], ""),
        request(illegal, &["foo.bar=1"], ""),
        same("foo@=1,bar=2"),
        request(at, &["@foo=1,bar=2"], ""),
        same("foo@@bar=1,bar=2").but("bar=2", API),
        same("foo@bar@baz=1,bar=2").but("bar=2", API),
    ]
}

fn counts() -> Vec<Request> {
    let test = "test_tracestate_member_count_limit";
    let tens = [bars(1..=10), bars(11..=20), bars(21..=30)];
    let [one, two, three] = tens.each_ref().map(String::as_str);
    vec![
        request(test, &[one, two, three, "bar31=31,bar32=32"], &bars(1..=32)),
        request(test, &[one, two, three, "bar31=31,bar32=32,bar33=33"], ""),
    ]
}

fn lengths() -> Vec<Request> {
    let test = "test_tracestate_key_length_limit";
    let good = |key: String| {
        let member = format!("{key}=1");
        request(test, &["foo=1", &member], &format!("foo=1,{member}"))
    };
    let too_long = format!("{}=1", "z".repeat(257));
    vec![
        good("z".repeat(256)),
        request(test, &["foo=1", &too_long], ""),
        good(format!("{}@{}", "t".repeat(241), "v".repeat(14))).but("foo=1", API),
        good(format!("{}@v", "t".repeat(242))),
        good(format!("t@{}", "v".repeat(15))).but("foo=1", API),
    ]
}

fn values() -> Vec<Request> {
    let test = "test_tracestate_value_illegal_characters";
    vec![
        request(test, &["foo=bar=baz"], ""),
        request(test, &["foo=,bar=3"], ""),
    ]
}
