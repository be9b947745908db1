//! What holds for whatever trace headers a stranger may send.

use proptest::prelude::*;

use super::{parse, traceparent};

const WELL_FORMED: &str = "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}";

/// Anything, and what is quite or nearly a `traceparent`.
fn header() -> impl Strategy<Value = String> {
    let one_off = (WELL_FORMED, 0_usize..55, any::<char>(), "[A-F+ _-]");
    let one_off = one_off.prop_map(|(good, at, any, likely)| {
        let wrong = if at % 2 == 0 { any.to_string() } else { likely };
        format!("{}{wrong}{}", &good[..at], &good[at + 1..])
    });
    prop_oneof![
        any::<String>(),
        WELL_FORMED,
        one_off,
        "00-[0-9a-fA-F]{32}-[0-9a-fA-F]{16}-[0-9a-fA-F]{2}",
        "00-0{28}[0-9a-f]{4}-0{14}[0-3]{2}-0[0-3]",
        "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}[-.]?[a-z-]{0,9}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_valid_and_written_as_it_was(parent in header(), state in any::<String>()) {
        if let Some(context) = parse(&parent, &state) {
            prop_assert!(context.is_valid() && context.is_remote());
            let written = traceparent(&context).expect("valid");
            prop_assert_eq!(&written, &written.to_ascii_lowercase());
            // Of the flags only *sampled* is kept, and the version is ours.
            prop_assert_eq!(&written[..3], "00-");
            prop_assert_eq!(&written[3..53], &parent[3..53]);
            prop_assert_eq!(context.is_sampled(), written.ends_with("01"));
            let again = parse(&written, &context.trace_state().header());
            prop_assert_eq!(Some(context), again);
        }
    }

    #[test]
    fn every_well_formed_header_is_read(
        trace in 1_u128.., span in 1_u64.., flags in any::<u8>(), state in any::<String>()
    ) {
        let parent = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        let context = parse(&parent, &state);
        prop_assert_eq!(Some(flags & 1 == 1), context.map(|context| context.is_sampled()));
    }
}
