//! How fast something grows.

/// The slope of the line that lies nearest to some points, by least squares; 0 where there is none.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let both: f64 = points.iter().map(|(px, py)| (px - x) * (py - y)).sum();
    let wide: f64 = points.iter().map(|(px, _)| (px - x).powi(2)).sum();
    if wide > 0.0 { both / wide } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_own_slope() {
        let points: Vec<_> = (0..60)
            .map(f64::from)
            .map(|x| (x, 3.0 - 0.25 * x))
            .collect();
        assert!((slope(&points) + 0.25).abs() < 1e-9);
    }

    #[test]
    fn what_goes_up_and_down_alike_has_none() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, 2.0), (3.0, 1.0)];
        assert!(slope(&points).abs() < 1e-9);
    }

    #[test]
    fn one_moment_tells_no_slope() {
        assert_eq!(0.0, slope(&[]));
        assert_eq!(0.0, slope(&[(7.0, 1.0), (7.0, 9.0)]));
    }
}
