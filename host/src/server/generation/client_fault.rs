//! Faults of clients: what the host ended, refused or bounded because of its client, by reason.
//!
//! Invariant: each has one word, the same in the log and in the metrics.

/// The reason for which the host did not give a client what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientFault {
    /// It sent what the protocol does not allow: 400, or the end of an HTTP/2 stream or connection.
    BadRequest,
    /// The head of its request was larger than `limits.header-size`: 431.
    HeadTooLarge,
    /// The body of its request was larger than `limits.body-size`: 413.
    BodyTooLarge,
    /// It asked for an upgrade, or for a tunnel: 501.
    Upgrade,
    /// The body of its request has a transfer coding that the host does not know: 501.
    TransferCoding,
    /// The head of its request did not come within `limits.header-timeout`.
    SlowHead,
    /// The body of its request came too slowly: 408, or the end of its request.
    SlowRequest,
    /// It took its answer too slowly.
    SlowReader,
    /// It gave up requests faster than the component could end them.
    Resets,
    /// It had as many connections as `limits.per-client`, and made one more: a reset.
    TooManyConnections,
    /// Its connection was idle for longest when others had no place.
    Evicted,
}

impl ClientFault {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::Upgrade,
        Self::TransferCoding,
        Self::SlowHead,
        Self::SlowRequest,
        Self::SlowReader,
        Self::Resets,
        Self::TooManyConnections,
        Self::Evicted,
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::HeadTooLarge => "head-too-large",
            Self::BodyTooLarge => "body-too-large",
            Self::Upgrade => "upgrade",
            Self::TransferCoding => "transfer-coding",
            Self::SlowHead => "slow-head",
            Self::SlowRequest => "slow-request",
            Self::SlowReader => "slow-reader",
            Self::Resets => "resets",
            Self::TooManyConnections => "too-many-connections",
            Self::Evicted => "evicted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_place_and_its_own_word() {
        for (place, fault) in ClientFault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            assert!(ClientFault::ALL.iter().all(|other| *other == fault || other.word() != fault.word()));
        }
    }
}
