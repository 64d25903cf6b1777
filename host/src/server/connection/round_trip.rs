//! The time that the network takes from the host to a client and back.
//!
//! Invariant: without a figure of the system it is 0, and nothing fails.

use std::mem::{MaybeUninit, size_of};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc::{IPPROTO_TCP, TCP_INFO, getsockopt, socklen_t, tcp_info};

/// Returns the round trip that the system has measured, the first time when the connection was made.
pub(crate) fn round_trip(stream: &TcpStream) -> Duration {
    tcp_info(stream).map_or(Duration::ZERO, |info| Duration::from_micros(info.tcpi_rtt.into()))
}

#[expect(unsafe_code, reason = "no library that is in use has this option; see the safety comments")]
fn tcp_info(stream: &TcpStream) -> Option<tcp_info> {
    let mut info = MaybeUninit::<tcp_info>::zeroed();
    let mut length = socklen_t::try_from(size_of::<tcp_info>()).ok()?;
    // SAFETY: the descriptor is open, and the system writes at most `length` bytes, which are there.
    let code = unsafe {
        getsockopt(stream.as_raw_fd(), IPPROTO_TCP, TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    // SAFETY: it has only integers, so that zeros, which an older system leaves at its end, are a value.
    (code == 0).then(|| unsafe { info.assume_init() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_has_a_round_trip() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let measured = round_trip(&stream);
        assert!(measured > Duration::ZERO && measured < Duration::from_secs(1), "{measured:?}");
    }
}
