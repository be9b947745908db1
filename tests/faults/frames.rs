//! What nats-server says to a client, cut into whole messages.

use bytes::{Bytes, BytesMut};

/// Collects bytes until there are whole protocol messages.
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Takes the next whole message off: a line, and the payload if the line announces one.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        let line = self.0.windows(2).position(|two| two == b"\r\n")?;
        let whole = line + 2 + payload(&self.0[..line]);
        (self.0.len() >= whole).then(|| self.0.split_to(whole).freeze())
    }
}

/// How much follows a line: `MSG <subject> <sid> [reply] <length>`, and `HMSG`, whose total comes last too.
fn payload(line: &[u8]) -> usize {
    let mut words = line.split(|byte| *byte == b' ');
    if !matches!(words.next(), Some(b"MSG" | b"HMSG")) {
        return 0;
    }
    let length = words.next_back().unwrap_or_default();
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    length.expect("a length at the end of a MSG line") + 2
}

/// The subject of a message; other frames have none.
pub(crate) fn subject(frame: &[u8]) -> Option<&str> {
    let mut words = frame.split(|byte| *byte == b' ');
    matches!(words.next()?, b"MSG" | b"HMSG").then_some(())?;
    std::str::from_utf8(words.next()?).ok()
}

#[test]
fn messages_are_whole_however_the_bytes_come() {
    let said = b"PING\r\nMSG a.b 1 4\r\n\r\n\r\n\r\nHMSG _INBOX.x 2 re.ply 3 5\r\nhhhpp\r\n+OK\r\n";
    let mut frames = Frames::default();
    let mut found = Vec::new();
    for byte in said {
        frames.push(&[*byte]);
        found.extend(frames.next());
    }
    assert_eq!(said.to_vec(), found.concat());
    let subjects: Vec<_> = found.iter().map(|frame| subject(frame)).collect();
    assert_eq!(vec![None, Some("a.b"), Some("_INBOX.x"), None], subjects);
}
