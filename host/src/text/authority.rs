//! Authorities of HTTP requests: a host, and perhaps a port, as RFC 3986 and RFC 9110 write them.
//!
//! Invariant: all parts of curfew read an authority here, so none of them can take another host out of one text. A text that other
//! software reads in several ways is no authority: there is no `user@`, no `%`, and no empty host.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Longest name of the DNS, without its final dot.
const MAX_HOST: usize = 253;

/// An authority. Two of them that name one host have the same `host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The text as it came. An empty port (`a.example:`) is no port: its colon is not part of this.
    pub text: &'a str,
    /// The host as routes have it: in lower case, without a final dot; an IPv6 address in its one canonical form, in brackets.
    pub host: Cow<'a, str>,
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads an authority. It allocates only for a host with capitals, or one that is an IPv6 address.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                // An IPv6 address has many forms.
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?).into(), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (normal_name(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            Some("") => None,
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { text: text.strip_suffix(':').unwrap_or(text), host, port })
    }

    /// Returns whether both name the same host and port.
    pub fn is_same(&self, other: &Authority<'_>, default_port: u16) -> bool {
        let port = |port: Option<u16>| port.unwrap_or(default_port);
        self.host == other.host && port(self.port) == port(other.port)
    }
}

fn normal_name(name: &str) -> Option<Cow<'_, str>> {
    // `reg-name` of RFC 3986. Encoded bytes could be decoded by one part of a chain of servers and not by the next.
    let stands = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let is_name = name.bytes().all(stands);
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_name || name.is_empty() || name.ends_with('.') || name.len() > MAX_HOST {
        None
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Some(name.to_ascii_lowercase().into())
    } else {
        Some(name.into())
    }
}

/// Reads digits only: `u16` would take `+80` too.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::cases;
    use super::*;

    #[test]
    fn every_form_of_authority() {
        for (text, host, port) in [
            ("a.example", "a.example", None),
            ("A.Example.:8080", "a.example", Some(8080)),
            ("a.example:", "a.example", None),
            ("a.example:00080", "a.example", Some(80)),
            ("a_b~c", "a_b~c", None),
            ("127.0.0.1:0", "127.0.0.1", Some(0)),
            ("[::1]", "[::1]", None),
            ("[0:0::1]:65535", "[::1]", Some(65535)),
            ("[::FFFF:1.2.3.4]:", "[::ffff:1.2.3.4]", None),
        ] {
            let authority = Authority::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((authority.host.as_ref(), authority.port), (host, port), "{text}");
            assert_eq!(authority.text, text.trim_end_matches(':'));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_authority() {
        let long = "a".repeat(254);
        for text in [
            "",
            ".",
            "..",
            "a..",
            ":80",
            "a@b",
            "user:pw@a.example",
            "a.example:80@b.example",
            "a.example:99999",
            "a.example:abc",
            "a.example:+80",
            "a.example:-1",
            "a.example:8 0",
            "a b",
            " a",
            "a ",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2eb",
            "é",
            "a\0",
            "a:1:2",
            "::1",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]:x",
            "[a]",
            "[]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "[[::1]]",
            "a[::1]",
            &long,
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_default_port_is_a_port() {
        let same = |one, other| Authority::parse(one).unwrap().is_same(&Authority::parse(other).unwrap(), 80);
        assert!(same("a", "A.:80") && same("[::1]:8080", "[0::1]:8080") && same("a:", "a"));
        assert!(!same("a", "a:443") && !same("a", "b"));
    }

    proptest! {
        #![proptest_config(cases())]

        /// Whatever it is: no panic, and what is read is read again as the same.
        #[test]
        fn any_text_has_one_meaning(text in prop_oneof![
            "\\PC{0,30}",
            "[a-zA-Z0-9.:@%\\[\\]-]{0,30}",
            "(\\[[0-9a-f:.]{0,20}\\]|[a-zA-Z.]{0,10})(:[0-9a-z+]{0,6})?",
        ]) {
            let Some(authority) = Authority::parse(&text) else { return Ok(()) };
            let port = authority.port.map_or_else(String::new, |port| format!(":{port}"));
            let normal = format!("{}{port}", authority.host);
            let again = Authority::parse(&normal).unwrap();
            prop_assert_eq!((&again.host, again.port), (&authority.host, authority.port));
            prop_assert!(authority.is_same(&again, 80));
            // The parser with which guests and other servers read it.
            let other = authority.text.parse::<http::uri::Authority>().unwrap();
            prop_assert_eq!(other.port_u16(), authority.port);
            let host = other.host().strip_suffix('.').unwrap_or(other.host());
            prop_assert!(host.eq_ignore_ascii_case(&authority.host) || host.starts_with('['), "{host}");
        }
    }
}
