//! What crosses the line: a header of sixteen bytes and at most [`MOST_BYTES`] of content.
//!
//! ```text
//! length of the content on the line u32 | CRC-32 of the rest of the header and the content u32 | call u32 | kind u8 | flags u8 | 0 u16
//! ```
//!
//! All numbers are little-endian. With flag 1 the content is one zstd frame.

use std::io::{self, Read, Write};

/// How many bytes a frame carries at most, before they are compressed and after.
pub const MOST_BYTES: usize = 256 << 10;

/// Less than this is not worth compressing.
const LEAST_COMPRESSED_BYTES: usize = 128;

const HEADER_BYTES: usize = 16;
const IS_COMPRESSED: u8 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The caller says who it is.
    Hello = 1,
    /// The helper says who it is.
    Welcome = 2,
    /// A call begins: the number of its message, and the request.
    Call = 3,
    /// A part of a call, in either direction.
    Part = 4,
    /// The caller has no more parts.
    PartsEnd = 5,
    /// A call has ended; the answer.
    Answer = 6,
    /// A call has failed; an error document. Of call 0: the session has.
    Failed = 7,
    /// The caller does not wait for a call any more.
    Cancel = 8,
    /// So many more bytes of parts of a call may be sent.
    Credit = 9,
    /// Somebody is there.
    Ping = 10,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Call,
        Kind::Part,
        Kind::PartsEnd,
        Kind::Answer,
        Kind::Failed,
        Kind::Cancel,
        Kind::Credit,
        Kind::Ping,
    ];

    fn of(number: u8) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One frame, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) call: u32,
    pub(super) content: Vec<u8>,
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The bytes of a frame, compressed at this level where that makes it smaller.
///
/// # Errors
/// `InvalidInput` where the content is longer than [`MOST_BYTES`].
pub(super) fn encode(kind: Kind, call: u32, content: &[u8], level: i32) -> io::Result<Vec<u8>> {
    if content.len() > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"));
    }
    let packed =
        if content.len() < LEAST_COMPRESSED_BYTES { None } else { zstd::bulk::compress(content, level).ok() };
    let packed = packed.filter(|packed| packed.len() < content.len());
    let flags = if packed.is_some() { IS_COMPRESSED } else { 0 };
    let on_line = packed.as_deref().unwrap_or(content);
    let length = u32::try_from(on_line.len()).map_err(|_| invalid("a frame is too long"))?;
    let rest = rest(call, kind as u8, flags);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + on_line.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(checksum(&rest, on_line).to_le_bytes());
    bytes.extend(rest);
    bytes.extend_from_slice(on_line);
    Ok(bytes)
}

/// The second half of a header.
fn rest(call: u32, kind: u8, flags: u8) -> [u8; 8] {
    let [a, b, c, d] = call.to_le_bytes();
    [a, b, c, d, kind, flags, 0, 0]
}

fn checksum(rest: &[u8; 8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(rest);
    hasher.update(content);
    hasher.finalize()
}

/// Reads a frame; none at the end of the stream.
///
/// # Errors
/// `UnexpectedEof` in the middle of a frame, `InvalidData` for what is none; those of the stream.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while let Some(left) = header.get_mut(filled..).filter(|left| !left.is_empty()) {
        match from.read(left) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = header;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let expected = u32::from_le_bytes([e, f, g, h]);
    if length > MOST_BYTES {
        return Err(invalid("a frame is longer than any may be"));
    }
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    if checksum(&rest, &content) != expected {
        return Err(invalid("a frame is damaged"));
    }
    let [a, b, c, d, kind, flags, zero, other] = rest;
    let kind = Kind::of(kind).filter(|_| flags & !IS_COMPRESSED == 0 && (zero, other) == (0, 0));
    let kind = kind.ok_or_else(|| invalid("a frame is of no known kind"))?;
    if flags & IS_COMPRESSED != 0 {
        content = zstd::bulk::decompress(&content, MOST_BYTES)
            .map_err(|_| invalid("a frame cannot be decompressed"))?;
    }
    Ok(Some(Frame { kind, call: u32::from_le_bytes([a, b, c, d]), content }))
}

/// Writes the bytes of a frame as a whole.
///
/// # Errors
/// Those of the stream.
pub(super) fn write(to: &mut (impl Write + ?Sized), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> io::Result<Option<Frame>> {
        read(&mut &*bytes)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_whatever_it_holds() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(MOST_BYTES).collect();
        for content in [vec![], vec![7], vec![0; MOST_BYTES], noise] {
            let bytes = encode(Kind::Part, 0xdead_beef, &content, 1).unwrap();
            assert!(bytes.len() <= HEADER_BYTES + content.len());
            assert_eq!(
                decoded(&bytes).unwrap().unwrap(),
                Frame { kind: Kind::Part, call: 0xdead_beef, content }
            );
        }
        assert_eq!(decoded(&[]).unwrap(), None);
        assert!(encode(Kind::Part, 1, &vec![0; MOST_BYTES + 1], 1).is_err());
    }

    #[test]
    fn what_was_changed_or_cut_on_the_line_is_noticed() {
        let bytes = encode(Kind::Answer, 3, b"an answer that is long enough", 1).unwrap();
        for at in 0..bytes.len() {
            assert!(decoded(&bytes[..at]).is_err() || at == 0, "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decoded(&changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn a_small_frame_does_not_become_a_big_one() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let rest = rest(1, Kind::Part as u8, IS_COMPRESSED);
        let mut bytes = u32::try_from(bomb.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(checksum(&rest, &bomb).to_le_bytes());
        bytes.extend(rest);
        bytes.extend(bomb);
        assert_eq!(decoded(&bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_form_of_a_frame_does_not_change() {
        let bytes = encode(Kind::Credit, 0x0102_0304, &[5, 0, 0, 0], 1).unwrap();
        assert_eq!(bytes, [4, 0, 0, 0, 0x76, 0xb4, 0x2e, 0xda, 4, 3, 2, 1, 9, 0, 0, 0, 5, 0, 0, 0]);
    }
}
