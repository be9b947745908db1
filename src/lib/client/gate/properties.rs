//! What holds for whatever address a stranger's payload may name.

use proptest::prelude::*;

use super::GateAddress;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_asked_is_one_plain_subject_under_gate(
        address in prop_oneof![
            any::<String>(),
            "(gate|svc|_INBOX|[a-z]{0,3})(\\.[A-Za-z0-9_*> \r\n$-]{0,40}){0,5}",
        ]
    ) {
        let read: GateAddress = serde_json::from_value(address.clone().into()).unwrap();
        if let Some(keeper) = read.keeper() {
            let tokens: Vec<&str> = address.split('.').collect();
            prop_assert_eq!(
                ("gate", &*keeper.service, &*keeper.instance, 4),
                (tokens[0], tokens[1], tokens[2], tokens.len())
            );
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            for token in tokens {
                prop_assert!(!token.is_empty() && token.chars().all(plain), "{:?}", address);
            }
        }
    }

    #[test]
    fn every_gate_that_is_opened_can_be_asked(
        service in "[a-z][a-z0-9_-]{0,31}", instance in "[a-z0-9]{10}", token in any::<u64>()
    ) {
        let address = GateAddress(format!("gate.{service}.{instance}.{token:016x}"));
        let keeper = address.keeper().map(|keeper| (keeper.service, keeper.instance));
        prop_assert_eq!(Some((service.into(), instance.into())), keeper);
    }
}
