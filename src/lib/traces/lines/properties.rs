//! What holds for whatever bytes are in a span file.

use std::ops::ControlFlow;

use proptest::{collection::vec, prelude::*};

use super::{
    super::{fixtures, read},
    backward_by, forward,
};

/// Few values, so that newlines and the characters of JSON are frequent.
fn bytes(at_most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        proptest::sample::select(b"\n\r{}[]\":,1 a".to_vec()),
        any::<u8>()
    ];
    vec(byte, 0..at_most)
}

proptest! {
    // Each case writes a file.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_directions_see_the_same_lines(content in bytes(200), chunk in 1_usize..64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, &content).unwrap();
        let mut forth = Vec::new();
        forward(&path, 0, |line, _| forth.push(line.to_vec())).unwrap();
        let mut back = Vec::new();
        backward_by(chunk, &path, |line| {
            back.push(line.to_vec());
            ControlFlow::Continue(())
        }).unwrap();
        back.reverse();
        // What follows the last newline is one more, empty line from behind.
        if back.last().is_some_and(Vec::is_empty) {
            back.pop();
        }
        prop_assert_eq!(&forth, &back);
        // Nothing is lost or invented.
        let mut joined = forth.join(&b'\n');
        if content.ends_with(b"\n") {
            joined.push(b'\n');
        }
        prop_assert_eq!(content, joined);
    }

    #[test]
    fn what_cannot_be_read_costs_only_itself(before in bytes(80), after in bytes(80)) {
        let dir = tempfile::tempdir().unwrap();
        fixtures::write(dir.path(), fixtures::REGISTER, &fixtures::register());
        let selector = fixtures::REGISTER.parse().unwrap();
        let whole = read(dir.path(), &selector).unwrap().rows().count();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let spans = std::fs::read(&path).unwrap();
            std::fs::write(&path, [&before[..], b"\n", &spans, b"\n", &after].concat()).unwrap();
        }
        prop_assert_eq!(whole, read(dir.path(), &selector).unwrap().rows().count());
        let last = read(dir.path(), &"last".parse().unwrap()).unwrap();
        prop_assert_eq!(fixtures::REGISTER, last.id().to_string());
    }
}
