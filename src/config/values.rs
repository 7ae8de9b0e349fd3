//! Texts with units: durations, sizes, rates. Text in, number out; what was expected as the error.

use std::time::Duration;

/// `1500ms`, `30s`, `5m`, `24h`, `90d`; `0` needs no unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if number == 0 => 0,
        _ => return None,
    };
    let millis = number.checked_mul(millis).filter(|millis| *millis <= DURATION_MILLIS_MAX)?;
    Some(Duration::from_millis(millis))
}

/// A hundred years: more is a typing error, and sums of two still fit every clock.
const DURATION_MILLIS_MAX: u64 = 100 * 366 * 86_400_000;

/// What [`duration`] reads, for messages.
pub const DURATION: &str = "a duration such as `1500ms`, `30s`, `5m`, `24h` or `90d`";

/// `512B`, `64KiB`, `1MiB`, `2GiB`, `1TiB`.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok())
}

/// What [`size`] reads, for messages.
pub const SIZE: &str = "a size such as `64KiB`, `1MiB` or `2GiB`";

/// `3000/s`.
pub fn rate(text: &str) -> Option<u32> {
    let number = text.strip_suffix("/s")?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|rate| digits && *rate > 0)
}

/// What [`rate`] reads, for messages.
pub const RATE: &str = "a rate such as `3000/s`, or `unlimited`";

/// As it is written in a file: the largest unit that leaves a whole number.
pub fn duration_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size));
    // A day and a minute read better as hours and seconds: 24h, 60s stay as people write them.
    match unit {
        Some((86_400_000, _)) if millis < 10 * 86_400_000 => format!("{}h", millis / 3_600_000),
        Some((60_000, _)) if millis < 2 * 60_000 => format!("{}s", millis / 1_000),
        Some((size, unit)) => format!("{}{unit}", millis / size),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

/// As it is written in a file: the largest unit that leaves a whole number.
pub fn size_text(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Digits, then the unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for text in ["1500ms", "30s", "36s", "5m", "1h", "24h", "72h", "90d", "60s", "0s"] {
            assert_eq!(duration(text).map(duration_text).as_deref(), Some(text));
        }
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for text in
            ["", "30", "s", "-1s", "1.5s", "1 s", "5min", "99999999999999999999s", "99999999d"]
        {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["20B", "64KiB", "1MiB", "20GiB", "1TiB", "1025B"] {
            assert_eq!(size(text).map(size_text).as_deref(), Some(text));
        }
        for text in ["", "1", "64KB", "64kib", "9999999999TiB", "-1MiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(rate("3000/s"), Some(3000));
        for text in ["0/s", "3000", "/s", "+5/s", "3000/m", "5000000000/s"] {
            assert_eq!(rate(text), None, "{text}");
        }
    }
}
