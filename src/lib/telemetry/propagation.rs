//! W3C Trace Context: `traceparent` in and out, `tracestate` in, pure.
//!
//! The checks are our own because the API's propagator takes what the standard forbids (short ids, a
//! leading `+`): <https://www.w3.org/TR/trace-context/#traceparent-header>. tests/conformance/trace_context.rs
//! holds them against the cases of the W3C's own suite.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Length of a version 00 `traceparent`.
const LENGTH: usize = 55;
/// Most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// Longest key, and longest value, of a member.
const MAX_TEXT: usize = 256;

/// Reads a `traceparent`; one that is malformed is nobody's trace.
///
/// Of a later version that is read which version 00 has too, as the standard wants it.
pub(crate) fn parse(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
    let (known, more) = traceparent.as_bytes().split_at_checked(LENGTH)?;
    let version: [u8; 1] = bytes(&known[..2])?;
    let ends_well = match version {
        [0x00] => more.is_empty(),
        [0xff] => false,
        _ => matches!(more, [] | [b'-', ..]),
    };
    let is_parted = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    if !(is_parted && ends_well) {
        return None;
    }
    let [flags] = bytes(&known[53..])?;
    let context = SpanContext::new(
        TraceId::from_bytes(bytes(&known[3..35])?),
        SpanId::from_bytes(bytes(&known[36..52])?),
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        state(tracestate).unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

/// Reads twice as many digits as there are bytes, all of them lower-case.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (value(pair[0])? << 4) | value(pair[1])?;
    }
    Some(bytes)
}

/// Reads a `tracestate`; one that is malformed is none.
///
/// The API's reader cuts a list that is too long, and takes empty keys and values that nobody may write.
fn state(tracestate: &str) -> Option<TraceState> {
    if tracestate.is_empty() {
        return None;
    }
    let members = tracestate.split(',');
    let members = members.map(|member| member.trim_matches([' ', '\t']));
    let pairs = members
        .filter(|member| !member.is_empty())
        .map(|member| member.split_once('='))
        .collect::<Option<Vec<_>>>()?;
    let good = |&(key, value): &(&str, &str)| is_key(key) && is_value(value);
    if pairs.len() > MAX_MEMBERS || !pairs.iter().all(good) {
        return None;
    }
    // The API's type can't hold some keys with an `@` that are good; the others go on without them.
    let held = pairs.into_iter();
    let held = held.filter(|pair| TraceState::from_key_value([*pair]).is_ok());
    TraceState::from_key_value(held).ok()
}

fn is_key(text: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=MAX_TEXT).contains(&text.len())
        && text.bytes().next().is_some_and(begins)
        && text
            .bytes()
            .all(|byte| begins(byte) || b"_-*/@".contains(&byte))
}

fn is_value(text: &str) -> bool {
    let printable = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
    (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(printable)
}

/// Writes the `traceparent` of a span; `None` where there is no trace.
pub(crate) fn traceparent(span: &SpanContext) -> Option<String> {
    if !span.is_valid() {
        return None;
    }
    // By hand: it is made for each attempt and each answer, and `format!` takes ten times as long.
    let mut text = Vec::with_capacity(LENGTH);
    text.extend_from_slice(b"00-");
    text.extend(span.trace_id().to_bytes().map(hex).as_flattened());
    text.push(b'-');
    text.extend(span.span_id().to_bytes().map(hex).as_flattened());
    text.push(b'-');
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    text.extend(hex(flags.to_u8()));
    String::from_utf8(text).ok()
}

/// Returns a byte's two digits, lower-case as the standard wants them.
pub(crate) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)])
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_read_again() {
        let context = parse(GOOD, "a=1,b=2").expect("well-formed");
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!("a=1,b=2", context.trace_state().header());
        assert_eq!(Some(GOOD), traceparent(&context).as_deref());
    }

    #[test]
    fn malformed_headers_are_nobodys_trace() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c8031é-b7ad6b7169203331-01",
        ] {
            assert_eq!(None, parse(bad, ""), "{bad}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        let later = GOOD.replacen("00", "cc", 1);
        for later in [format!("{later}-more-é"), format!("{later}-"), later] {
            let context = parse(&later, "a=1").expect("well-formed as far as it is known");
            assert_eq!(Some(GOOD), traceparent(&context).as_deref(), "{later}");
            assert_eq!("a=1", context.trace_state().header());
        }
    }

    #[track_caller]
    fn check_state(expected: &str, tracestate: &str) {
        let context = parse(GOOD, tracestate).expect("the parent is well-formed");
        assert_eq!(expected, context.trace_state().header(), "{tracestate}");
    }

    #[test]
    fn a_malformed_tracestate_costs_only_itself() {
        for bad in [
            "no equals sign",
            "a=1,=2",
            "a=1,b=",
            "a=1,b==2",
            "a=1,b=é",
            "a=1,b=\u{7f}",
            "a=1,b=x\ty",
            "a=1,B=2",
            "a=1,@b=2",
            "a=1,b =2",
        ] {
            check_state("", bad);
        }
        let list = |members: usize| vec!["a=1"; members].join(",");
        check_state(&list(32), &list(32));
        check_state("", &list(33));
        let long = "x".repeat(256);
        check_state(&format!("{long}={long}"), &format!("{long}={long}"));
        check_state("", &format!("a=1,{long}x=1"));
        check_state("", &format!("a=1,b={long}x"));
    }

    #[test]
    fn a_key_that_the_api_can_not_hold_costs_only_itself() {
        check_state("a=1,b@c=2,d=3", "a=1,b@@c=2,b@c=2,d=3");
    }

    #[test]
    fn blanks_round_a_member_are_not_of_it_and_empty_members_are_none() {
        check_state("a= 1,b=2", ",\ta= 1 \t, ,b=2\t,");
    }
}
