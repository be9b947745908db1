//! Words that stand for people and for secrets in all tests, and the search for them in what a test leaves.
//!
//! Whoever is registered in a test has one of these names and an address at one of these domains, and each token and
//! password has [`SECRET`] in it. So what must not be in a span, a log line or a metric is known beforehand, and the
//! fixture looks for it at the end of each test. [`Stack`](super::Stack) sends nothing else.

use std::{fs, path::Path, sync::OnceLock, thread};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use serde_json::Value;

/// In every token and every password.
pub(crate) const SECRET: &str = "hunter2";
/// Of all addresses; the first three users are among them.
const DOMAINS: [&str; 3] = ["example.com", "canary.example", "evil.example"];
const NAMES: [&str; 13] = [
    "Alice",
    "Bob",
    "Charlie",
    "Dave",
    "David",
    "Eve",
    "hostile-canary",
    "Monty",
    "Quirinus",
    "Ulrike",
    "Xenia",
    "Zoë",
    "Zo%C3%AB",
];
/// `up` tells how somebody is registered.
const EXAMPLE: &str = r#"-d '{"name":"David","email":"david@example.com"}'"#;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What is shorter may be there by chance, encoded.
const ENCODED: usize = 7;
/// What is shown around a finding, in bytes.
const AROUND: usize = 160;

/// Something that must not be there, and which of its neighbours may not be letters.
struct Needle {
    text: String,
    is_word: bool,
}

/// Fails the test if a canary is there. While it fails already there is nothing to add.
#[track_caller]
pub(crate) fn see_that_none_is_in(place: &str, bytes: &[u8]) {
    if thread::panicking() {
        return;
    }
    if let Some(found) = find(bytes) {
        panic!("a canary is in {place}: …{found}…");
    }
}

/// The same of all files of a folder, if it is there.
#[track_caller]
pub(crate) fn see_that_none_is_below(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Tests put other things there, of which some can be read for ever.
        if !path.is_file() {
            continue;
        }
        // A file may go while it is looked for: span files rotate.
        if let Ok(bytes) = fs::read(&path) {
            see_that_none_is_in(&path.display().to_string(), &bytes);
        }
    }
}

/// Fails the test if somebody is about to be registered, or a token shown, that the search would not find.
#[track_caller]
pub(crate) fn see_that_all_are_known(headers: &[(&str, &str)], body: Option<&str>) {
    let tokens = headers.iter().filter(|(name, _)| *name == "authorization");
    let tokens = tokens.map(|(_, value)| (*value).to_owned());
    let body = body.and_then(|body| serde_json::from_str::<Value>(body).ok());
    let told = ["name", "email"]
        .iter()
        .filter_map(|field| Some(body.as_ref()?.get(field)?.as_str()?.to_owned()));
    for told in tokens.chain(told) {
        let letters = told.chars().filter(|c| c.is_alphanumeric()).count();
        assert!(
            letters < 3 || find(told.as_bytes()).is_some(),
            "{told:?} is no canary: take words from tests/it/support/canaries.rs"
        );
    }
}

/// Returns the first canary with what is around it.
pub(crate) fn find(bytes: &[u8]) -> Option<String> {
    static SEARCH: OnceLock<(AhoCorasick, Vec<Needle>)> = OnceLock::new();
    let (search, needles) = SEARCH.get_or_init(|| {
        let needles = needles();
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            // This alone is quick where nothing else is optimised.
            .kind(Some(AhoCorasickKind::DFA))
            .prefilter(false)
            .build(needles.iter().map(|needle| &needle.text))
            .unwrap();
        (search, needles)
    });
    let is_letter = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    let mut all = search.find_iter(bytes);
    let found = all.find(|found| {
        let before = found.start().checked_sub(1).map(|at| &bytes[at]);
        let is_part = is_letter(before) || is_letter(bytes.get(found.end()));
        let is_another = needles[found.pattern()].is_word && is_part;
        !is_another && !is_in_example(bytes, found.start())
    })?;
    let from = found.start().saturating_sub(AROUND);
    let to = bytes.len().min(found.end() + AROUND);
    Some(String::from_utf8_lossy(&bytes[from..to]).into_owned())
}

fn needles() -> Vec<Needle> {
    let needle = |is_word| {
        move |text: &str| Needle {
            text: text.to_owned(),
            is_word,
        }
    };
    let long = DOMAINS.iter().chain(&NAMES).chain([&SECRET]);
    let long = long.filter(|text| text.len() >= ENCODED);
    let encoded = long.flat_map(|text| encodings(text.as_bytes()));
    let names = NAMES.into_iter().map(needle(true));
    let others = DOMAINS.into_iter().chain([SECRET]).map(needle(false));
    let encoded = encoded.map(|text| needle(false)(&text));
    names.chain(others).chain(encoded).collect()
}

/// Writes bytes as hexadecimal digits, and in base64 as it is in the middle of something, wherever that begins.
fn encodings(bytes: &[u8]) -> Vec<String> {
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = (0..3).map(|offset| {
        let whole = [&b"\0\0"[..offset], bytes].concat();
        let bits = |range: std::ops::Range<usize>| {
            let all = range.map(|bit| whole[bit / 8] >> (7 - bit % 8) & 1);
            all.fold(0, |number, bit| number << 1 | usize::from(bit))
        };
        let digits = (offset * 8).div_ceil(6)..whole.len() * 8 / 6;
        let digits = digits.map(|at| char::from(BASE64[bits(at * 6..at * 6 + 6)]));
        digits.collect()
    });
    base64.chain([hex]).collect()
}

/// Tells whether something stands in the words by which `up` tells how somebody is registered.
fn is_in_example(bytes: &[u8], at: usize) -> bool {
    let near = &bytes[at.saturating_sub(EXAMPLE.len())..];
    let mut windows = near.windows(EXAMPLE.len()).take(EXAMPLE.len());
    windows.any(|window| window == EXAMPLE.as_bytes())
}
