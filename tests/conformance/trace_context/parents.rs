//! The suite's cases of `traceparent`.

use super::{Header, Trace};
use Trace::{Anew, GoesOn};

/// A test of the suite: its name, what becomes of the trace, and the values of the one `traceparent` of each of its
/// requests.
type Test = (&'static str, Trace, &'static [&'static str]);

#[rustfmt::skip]
const ONE_PARENT: &[Test] = &[
    ("test_traceparent_included_tracestate_missing", GoesOn, &[
        "00-12345678901234567890123456789012-1234567890123456-01",
    ]),
    ("test_traceparent_version_0x00", Anew, &[
        "00-12345678901234567890123456789012-1234567890123456-01.",
        "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
    ]),
    ("test_traceparent_version_0xcc", GoesOn, &[
        "cc-12345678901234567890123456789012-1234567890123456-01",
        "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
    ]),
    ("test_traceparent_version_0xcc", Anew, &[
        "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like",
    ]),
    ("test_traceparent_version_0xff", Anew, &[
        "ff-12345678901234567890123456789012-1234567890123456-01",
    ]),
    ("test_traceparent_version_illegal_characters", Anew, &[
        ".0-12345678901234567890123456789012-1234567890123456-01",
        "0.-12345678901234567890123456789012-1234567890123456-01",
    ]),
    ("test_traceparent_version_too_long", Anew, &[
        "000-12345678901234567890123456789012-1234567890123456-01",
        "0000-12345678901234567890123456789012-1234567890123456-01",
    ]),
    ("test_traceparent_version_too_short", Anew, &[
        "0-12345678901234567890123456789012-1234567890123456-01",
    ]),
    ("test_traceparent_trace_id_all_zero", Anew, &[
        "00-00000000000000000000000000000000-1234567890123456-01",
    ]),
    ("test_traceparent_trace_id_illegal_characters", Anew, &[
        "00-.2345678901234567890123456789012-1234567890123456-01",
        "00-1234567890123456789012345678901.-1234567890123456-01",
    ]),
    ("test_traceparent_trace_id_too_long", Anew, &[
        "00-123456789012345678901234567890123-1234567890123456-01",
    ]),
    ("test_traceparent_trace_id_too_short", Anew, &[
        "00-1234567890123456789012345678901-1234567890123456-01",
    ]),
    ("test_traceparent_parent_id_all_zero", Anew, &[
        "00-12345678901234567890123456789012-0000000000000000-01",
    ]),
    ("test_traceparent_parent_id_illegal_characters", Anew, &[
        "00-12345678901234567890123456789012-.234567890123456-01",
        "00-12345678901234567890123456789012-123456789012345.-01",
    ]),
    ("test_traceparent_parent_id_too_long", Anew, &[
        "00-12345678901234567890123456789012-12345678901234567-01",
    ]),
    ("test_traceparent_parent_id_too_short", Anew, &[
        "00-12345678901234567890123456789012-123456789012345-01",
    ]),
    ("test_traceparent_trace_flags_illegal_characters", Anew, &[
        "00-12345678901234567890123456789012-1234567890123456-.0",
        "00-12345678901234567890123456789012-1234567890123456-0.",
    ]),
    ("test_traceparent_trace_flags_too_long", Anew, &[
        "00-12345678901234567890123456789012-1234567890123456-001",
    ]),
    ("test_traceparent_trace_flags_too_short", Anew, &[
        "00-12345678901234567890123456789012-1234567890123456-1",
    ]),
    ("test_traceparent_ows_handling", GoesOn, &[
        " 00-12345678901234567890123456789012-1234567890123456-01",
        "\t00-12345678901234567890123456789012-1234567890123456-01",
        "00-12345678901234567890123456789012-1234567890123456-01 ",
        "00-12345678901234567890123456789012-1234567890123456-01\t",
        "\t 00-12345678901234567890123456789012-1234567890123456-01 \t",
    ]),
    // The trace goes on, as the suite has it, and the flag does not: it wants that for Level 2 of the standard, a draft,
    // which it leaves out itself unless it is asked for. By the Recommendation, Level 1, of the flags of version 00 only
    // *sampled* is known, and the others MUST be zero.
    ("test_propagates_random_flag", GoesOn, &[
        "00-12345678901234567890123456789012-1234567890123456-02",
    ]),
];

const GOOD: &str = "00-12345678901234567890123456789012-1234567890123456-01";

/// Names of the header that are another header.
const OTHER_NAMES: [&str; 2] = ["trace-parent", "trace.parent"];

/// Names that are the same one where names have no case: in HTTP.
const CASES: [&str; 3] = ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"];

/// Each request of the suite: the name of its test, its headers and what becomes of the trace.
pub(super) fn requests(have_names_case: bool) -> Vec<(&'static str, Vec<Header>, Trace)> {
    let named = |name, value: &str| (name, value.to_owned());
    let twice = [GOOD.replace("12-", "11-"), GOOD.to_owned()].map(|value| ("traceparent", value));
    let mut requests = vec![
        ("test_both_traceparent_and_tracestate_missing", vec![], Anew),
        ("test_traceparent_duplicated", twice.to_vec(), Anew),
    ];
    for name in OTHER_NAMES {
        let header = vec![named(name, GOOD)];
        requests.push(("test_traceparent_header_name", header, Anew));
    }
    let same_name = if have_names_case { Anew } else { GoesOn };
    for name in CASES {
        let test = "test_traceparent_header_name_valid_casing";
        requests.push((test, vec![named(name, GOOD)], same_name));
    }
    for (test, trace, values) in ONE_PARENT {
        let each = values.iter().map(|value| vec![named("traceparent", value)]);
        requests.extend(each.map(|headers| (*test, headers, *trace)));
    }
    requests
}
