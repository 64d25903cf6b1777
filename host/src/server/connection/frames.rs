//! The frames that an HTTP/2 client sends, as far as its connection's clock needs them: whether one has begun and not ended.
//!
//! Invariant: it follows the bytes of RFC 9113 section 4.1 whatever their pieces are, and keeps no payload. Bytes that are no
//! HTTP/2 mislead nobody but the clock of their own connection, which `h2` ends.

const PREFACE_LEN: usize = 24;
const HEADER_LEN: usize = 9;
const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Position in the bytes of one client.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes of the preface, or of the payload of the current frame, that are still to come.
    skip: usize,
    header: [u8; HEADER_LEN],
    /// Bytes of the current frame's header that have come.
    known: usize,
    /// A field block has begun, and its last frame has not ended.
    in_head: bool,
}

impl Frames {
    /// Returns the position before the preface.
    pub(crate) fn new() -> Self {
        Self { skip: PREFACE_LEN, header: [0; HEADER_LEN], known: 0, in_head: false }
    }

    /// Follows bytes that have come.
    pub(crate) fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = self.header.get_mut(self.known..).unwrap_or_default();
            let taken = wanted.len().min(bytes.len());
            if let (Some(wanted), Some((header, rest))) =
                (wanted.get_mut(..taken), bytes.split_at_checked(taken))
            {
                wanted.copy_from_slice(header);
                bytes = rest;
            }
            self.known += taken;
            if self.known == HEADER_LEN {
                self.begin_frame();
            }
        }
    }

    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.known = 0;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | PUSH_PROMISE | CONTINUATION) {
            self.in_head = flags & END_HEADERS == 0;
        }
    }

    /// Returns whether the client is in the middle of a frame, or of a field block.
    pub(crate) fn is_partial(&self) -> bool {
        self.in_head || self.known > 0 || self.skip > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::testing::cases;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_LEN + payload, 0xff);
        bytes
    }

    proptest! {
        #![proptest_config(cases())]

        /// Whatever the bytes are, and the pieces in which they come: no panic, and the pieces make no difference.
        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..10_u8, any::<u8>()], 0..400),
            size in 1..40_usize,
        ) {
            let (mut whole, mut pieces) = (Frames::new(), Frames::new());
            whole.advance(&bytes);
            bytes.chunks(size).for_each(|piece| pieces.advance(piece));
            prop_assert_eq!(whole.is_partial(), pieces.is_partial());
            prop_assert_eq!((whole.skip, whole.known, whole.in_head), (pieces.skip, pieces.known, pieces.in_head));
        }
    }

    #[test]
    fn a_frame_or_a_field_block_is_partial_until_its_last_byte() {
        let (settings, ping) = (frame(4, 0, 0), frame(6, 0, 8));
        let (begun, ended) = (frame(HEADERS, 0, 300), frame(CONTINUATION, END_HEADERS, 5));
        let pieces = [&[b'P'; PREFACE_LEN][..], &settings, &begun, &ended, &ping, &frame(0, 1, 0)];
        let whole_after = [true, true, false, true, true, true];
        for size in [1, 2, 7, 1000] {
            let mut frames = Frames::new();
            for (piece, whole) in pieces.iter().zip(whole_after) {
                for part in piece.chunks(size) {
                    frames.advance(part);
                }
                assert_eq!(!frames.is_partial(), whole, "{size}");
                let mut next = Frames { ..frames };
                next.advance(&[0]);
                assert!(next.is_partial());
            }
        }
    }
}
