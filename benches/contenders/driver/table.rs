//! Figures of several rounds as one line each.

use std::fmt::Write as _;

/// Middle of some figures, and their range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        Self {
            low: at(0),
            median: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
            high: at(last),
        }
    }

    /// `1234 (1100–1300)`.
    pub(super) fn shown(&self, digits: usize) -> String {
        let Self { low, median, high } = self;
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}

/// A column: its name, the digits behind the point, and what it has of a turn.
pub(super) type Figure<T> = (&'static str, usize, fn(&T) -> f64);

/// The heads of figures, each with its ratio to the base's.
pub(super) fn heads<T>(first: &'static str, figures: &[Figure<T>]) -> Vec<&'static str> {
    let named = figures.iter().flat_map(|(name, ..)| [*name, "ratio"]);
    [first].into_iter().chain(named).collect()
}

/// A row of these. Ratios are those of each round, in which the machine was the same for all.
pub(super) fn compared<T>(
    name: String,
    figures: &[Figure<T>],
    turns: &[T],
    base: &[T],
) -> Vec<String> {
    let mut row = vec![name];
    for (_, digits, of) in figures {
        row.push(Spread::of(turns.iter().map(of)).shown(*digits));
        let rounds = turns.iter().zip(base);
        row.push(ratio(rounds.map(|(own, base)| (of(own), of(base)))));
    }
    row
}

/// The middle of the ratios of single rounds, and their range. A round in which the base has no figure has no ratio, and is
/// counted as left out; one in which only the other has none is as bad as can be.
pub(super) fn ratio(rounds: impl IntoIterator<Item = (f64, f64)>) -> String {
    let rounds: Vec<(f64, f64)> = rounds.into_iter().collect();
    let known = rounds.iter().filter(|(_, base)| base.is_finite());
    let ratios: Vec<f64> = known.map(|(own, base)| own / base).collect();
    let left_out = rounds.len() - ratios.len();
    match (ratios.is_empty(), left_out) {
        (true, _) => "–".to_owned(),
        (false, 0) => Spread::of(ratios).shown(2),
        (false, _) => format!("{}, {left_out} left out", Spread::of(ratios).shown(2)),
    }
}

/// Tells how many requests failed of all, if any did: a table has no place for it.
pub(super) fn failures(name: &str, turns: impl Iterator<Item = (f64, f64)>) -> Option<String> {
    let (failed, all) = turns.fold((0.0, 0.0), |sum, turn| (sum.0 + turn.0, sum.1 + turn.1));
    (failed > 0.0).then(|| format!("{name}: {failed} of {all} requests failed"))
}

/// A Markdown table: names first, then figures to the right.
pub(super) fn markdown(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|---|", head.join(" | "));
    text.push_str(&"---:|".repeat(head.len().saturating_sub(1)));
    text.push('\n');
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_of_an_even_number_too() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!("2.5 (1.0–4.0)", spread.shown(1));
        assert_eq!("7 (7–7)", Spread::of([7.0]).shown(0));
    }

    #[test]
    fn a_round_without_a_figure_is_no_ratio_and_is_told() {
        let all = [(1.0, 2.0), (3.0, 2.0), (4.0, 2.0)];
        assert_eq!("1.50 (0.50–2.00)", ratio(all));
        let stalled = [(1.0, f64::INFINITY), (f64::INFINITY, 2.0), (4.0, 2.0)];
        assert_eq!("inf (2.00–inf), 1 left out", ratio(stalled));
        assert_eq!("–", ratio([(f64::INFINITY, f64::INFINITY)]));
    }
}
