//! Durations and sizes as people write them: one number and one unit, as in `"250ms"` or `"64MiB"`. The arithmetic is exact.

use std::time::Duration;

/// The longest duration that is taken: 365 days of 24 hours. It keeps every sum of two durations and a clock within range.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const NANOS: [(&str, u64); 4] =
    [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
const BYTES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Digits after the point that are taken; more would not fit the arithmetic.
const MAX_FRACTION: usize = 9;

/// Reads a duration: a whole or decimal number and one of `ms`, `s`, `m`, `h`; at most [`MAX_DURATION`].
///
/// ```
/// # use std::time::Duration;
/// # use curfew_host::text::units::parse_duration;
/// assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanos = u64::try_from(parse(text, &NANOS)?).map(Duration::from_nanos);
    let within = nanos.ok().filter(|duration| *duration <= MAX_DURATION);
    within.ok_or_else(|| "the longest is 8760h (365 days)".to_owned())
}

/// Reads a size in bytes: a whole or decimal number and one of `B`, `KiB`, `MiB`, `GiB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    u64::try_from(parse(text, &BYTES)?).map_err(|_| "it is more than can be counted".to_owned())
}

/// Writes a duration in a short form: `250ms`, `1.2s`, `5m`. From 10 ms on, it cuts off what is finer than a millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 10 {
        return decimal(u128::from(duration.subsec_nanos()) / 100_000, 10, "ms");
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    match (millis % 3_600_000, millis % 60_000) {
        (0, _) => format!("{}h", millis / 3_600_000),
        (_, 0) => format!("{}m", millis / 60_000),
        _ => decimal(millis, 1000, "s"),
    }
}

/// Writes a size in the largest unit that it is a whole number of, so that [`parse_size`] reads the same back.
pub fn format_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = BYTES.iter().rev().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

/// Returns the same number with the unit that was probably meant: `10` → `10s`, `64MB` → `64MiB`, `1m30s` → `90s`.
pub fn suggest_unit(text: &str, duration: bool) -> Option<String> {
    if let Some(sum) = compound(text).filter(|_| duration) {
        return Some(format_duration(sum));
    }
    let (number, unit) = split(text.trim());
    let wanted = match (duration, unit.trim().to_ascii_lowercase().as_str()) {
        (true, "" | "sec" | "secs" | "second" | "seconds" | "s") => "s",
        (true, "msec" | "millis" | "milliseconds" | "ms") => "ms",
        (true, "min" | "mins" | "minute" | "minutes" | "m") => "m",
        (true, "hour" | "hours" | "h") => "h",
        (true, _) => return None,
        (false, "b" | "bytes") => "B",
        (false, "k" | "kb" | "ki" | "kib") => "KiB",
        (false, "m" | "mb" | "mi" | "mib") => "MiB",
        (false, "g" | "gb" | "gi" | "gib") => "GiB",
        (false, _) => return None,
    };
    let better = format!("{number}{wanted}");
    let valid = if duration { parse_duration(&better).is_ok() } else { parse_size(&better).is_ok() };
    (valid && better != text).then_some(better)
}

/// Reads durations in a row, of which Go and others make one: `1h30m`.
fn compound(text: &str) -> Option<Duration> {
    let starts = text.char_indices().zip(text.chars().skip(1));
    let starts = starts.filter(|((_, before), c)| before.is_ascii_alphabetic() && c.is_ascii_digit());
    let mut ends: Vec<usize> = starts.map(|((at, before), _)| at + before.len_utf8()).collect();
    if ends.is_empty() {
        return None;
    }
    ends.push(text.len());
    let mut start = 0;
    let parts = ends.into_iter().map(|end| text.get(std::mem::replace(&mut start, end)..end));
    parts.map(|part| parse_duration(part?).ok()).sum::<Option<Duration>>().filter(|sum| *sum <= MAX_DURATION)
}

/// Returns `value / scale` without trailing zeros, and the unit; 0 is `0s` whatever the unit. `scale` is a power of ten.
fn decimal(value: u128, scale: u128, unit: &str) -> String {
    if value == 0 {
        return "0s".to_owned();
    }
    let digits = scale.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / scale, value % scale);
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u128, String> {
    let (number, unit) = split(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let accepted = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
        return Err("it does not start with a number".to_owned());
    }
    if unit.is_empty() {
        return Err(format!("the unit is missing (one of {})", accepted()));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let found: String = unit.chars().take(16).collect();
        return Err(format!("{found:?} is not a unit (one of {})", accepted()));
    };
    let (Ok(whole), 0..=MAX_FRACTION) = (whole.parse::<u64>(), fraction.len()) else {
        return Err("the number is too long".to_owned());
    };
    // At most 2^64 * 2^42: far from the end of a u128.
    let factor = u128::from(*factor);
    let part = fraction.chars().filter_map(|c| c.to_digit(10)).fold(0u128, |n, d| n * 10 + u128::from(d));
    let scale = fraction.chars().fold(1u128, |n, _| n * 10);
    Ok(u128::from(whole) * factor + part * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("1.5s", 1500),
            ("0.25m", 15_000),
            ("8760h", 31_536_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("100B", 100), ("512KiB", 524_288), ("64MiB", 67_108_864), ("1.5GiB", 1_610_612_736), ("0B", 0)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("18446744073709551615B"), Ok(u64::MAX));
        assert_eq!(parse_size("18446744073709551615KiB"), Err("it is more than can be counted".to_owned()));
    }

    #[test]
    fn wrong_texts_say_why() {
        for (text, message) in [
            ("", "it is empty"),
            ("s", "it does not start with a number"),
            ("-5s", "it does not start with a number"),
            ("+5s", "it does not start with a number"),
            (".5s", "it does not start with a number"),
            ("5.s", "it does not start with a number"),
            ("1.2.3s", "it does not start with a number"),
            ("10", "the unit is missing (one of ms, s, m, h)"),
            ("10 s", "\" s\" is not a unit (one of ms, s, m, h)"),
            ("10S", "\"S\" is not a unit (one of ms, s, m, h)"),
            ("1h30m", "\"h30m\" is not a unit (one of ms, s, m, h)"),
            ("8761h", "the longest is 8760h (365 days)"),
            ("18446744073709551615h", "the longest is 8760h (365 days)"),
            ("99999999999999999999s", "the number is too long"),
            ("0.1234567891s", "the number is too long"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err(), message, "{text}");
        }
        assert_eq!(parse_size("64MB").unwrap_err(), "\"MB\" is not a unit (one of B, KiB, MiB, GiB)");
    }

    #[test]
    fn units_are_suggested() {
        assert_eq!(suggest_unit("10", true).as_deref(), Some("10s"));
        assert_eq!(suggest_unit("2 min", true).as_deref(), Some("2m"));
        assert_eq!(suggest_unit("64MB", false).as_deref(), Some("64MiB"));
        assert_eq!(suggest_unit("64", false), None);
        assert_eq!(suggest_unit("soon", true), None);
        assert_eq!(suggest_unit("1h30m", true).as_deref(), Some("90m"));
        assert_eq!(suggest_unit("1m30s500ms", true).as_deref(), Some("90.5s"));
        assert_eq!(suggest_unit("1h30", true), None);
    }

    #[test]
    fn durations_are_written_short() {
        for (micros, text) in [
            (0, "0s"),
            (50, "0s"),
            (300, "0.3ms"),
            (3_700, "3.7ms"),
            (250_000, "250ms"),
            (999_900, "999ms"),
            (1_000_000, "1s"),
            (1_200_000, "1.2s"),
            (90_000_000, "90s"),
            (300_000_000, "5m"),
            (7_200_000_000, "2h"),
            (3_661_050_000, "3661.05s"),
        ] {
            assert_eq!(format_duration(Duration::from_micros(micros)), text, "{micros}");
        }
    }

    proptest! {
        #[test]
        fn whole_milliseconds_round_trip(millis in 0..=31_536_000_000u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9.]{0,24}[a-zA-Z ]{0,4}|\\PC*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
            let _ = suggest_unit(&text, true);
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["0B", "1B", "1023B", "1025B", "8KiB", "1000KiB", "1MiB", "1536MiB", "3GiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
        assert_eq!(format_size(1024 << 20), "1GiB");
        assert_eq!(parse_size(&format_size(u64::MAX)), Ok(u64::MAX));
    }
}
