//! Frames of any content, with the checksum that they need to be listened to at all.

/// A frame that is not compressed.
pub fn frame(kind: u8, call: u32, content: &[u8]) -> Vec<u8> {
    let mut rest = call.to_le_bytes().to_vec();
    rest.extend([kind, 0, 0, 0]);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&rest);
    checksum.update(content);
    let mut bytes = u32::try_from(content.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend(checksum.finalize().to_le_bytes());
    bytes.extend(rest);
    bytes.extend_from_slice(content);
    bytes
}

/// The frames that a fuzzer means: kind, call, and a length before each content.
pub fn all(mut data: &[u8]) -> impl Iterator<Item = (u8, u32, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, call, low, high, rest @ ..] = data else { return None };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        data = after;
        Some((*kind, u32::from(*call), content))
    })
}
