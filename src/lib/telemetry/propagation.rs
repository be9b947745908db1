//! W3C Trace Context: `traceparent` in and out, pure.
//!
//! The check is our own because the API's propagator takes what the standard forbids (short ids, a
//! leading `+`): <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Reads a version 00 `traceparent`; anything else is nobody's trace.
pub(crate) fn parse(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
    let bytes = traceparent.as_bytes();
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let dashes = [2, 35, 52];
    let shaped = bytes.len() == 55
        && bytes.starts_with(b"00")
        && bytes.iter().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) {
                *byte == b'-'
            } else {
                hex(byte)
            }
        });
    if !shaped {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(&traceparent[3..35]).ok()?,
        SpanId::from_hex(&traceparent[36..52]).ok()?,
        TraceFlags::new(u8::from_str_radix(&traceparent[53..55], 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::from_str(tracestate).unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

/// Writes the `traceparent` of a span; `None` where there is no trace.
pub(crate) fn traceparent(span: &SpanContext) -> Option<String> {
    span.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            span.trace_id(),
            span.span_id(),
            (span.trace_flags() & TraceFlags::SAMPLED).to_u8()
        )
    })
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
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
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
    fn a_malformed_tracestate_costs_only_itself() {
        let context = parse(GOOD, "no equals sign").expect("the parent is well-formed");
        assert_eq!("", context.trace_state().header());
    }
}
