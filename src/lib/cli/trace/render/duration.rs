//! Durations as people read them: the unit follows the size.

/// Shows nanoseconds: `0.42 ms`, `3.1 ms`, `245 ms`, `1.24 s`.
pub(in crate::cli::trace) fn show_nanos(nanos: u64) -> String {
    // Each limit is where rounding would fill the next unit.
    match nanos {
        0 => "0 ms".into(),
        1..5_000 => "<0.01 ms".into(),
        5_000..995_000 => decimal(nanos, 10_000, 2, "ms"),
        995_000..999_950_000 => decimal(nanos, 100_000, 1, "ms"),
        999_950_000..99_995_000_000 => decimal(nanos, 10_000_000, 2, "s"),
        _ => decimal(nanos, 1_000_000_000, 0, "s"),
    }
}

/// Rounds to `step` nanoseconds, of which `10^digits` make a unit; whole numbers have no point.
fn decimal(nanos: u64, step: u64, digits: usize, unit: &str) -> String {
    let steps = nanos / step + u64::from(nanos % step >= step / 2);
    let scale = [1, 10, 100][digits];
    let (whole, part) = (steps / scale, steps % scale);
    if part == 0 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{part:0digits$} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::show_nanos;

    #[test]
    fn the_unit_follows_the_size() {
        for (nanos, shown) in [
            (0, "0 ms"),
            (1, "<0.01 ms"),
            (5_000, "0.01 ms"),
            (420_000, "0.42 ms"),
            (994_999, "0.99 ms"),
            (995_000, "1 ms"),
            (3_100_000, "3.1 ms"),
            (245_000_000, "245 ms"),
            (485_200_000, "485.2 ms"),
            (999_949_999, "999.9 ms"),
            (999_950_000, "1 s"),
            (1_240_000_000, "1.24 s"),
            (1_050_000_000, "1.05 s"),
            (99_999_000_000, "100 s"),
            (u64::MAX, "18446744074 s"),
        ] {
            assert_eq!(shown, show_nanos(nanos), "{nanos}");
        }
    }
}
