//! What the benches share.

/// The median of some measurements; of an even number, the upper one. 0 without any.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_ignores_outliers_and_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0, 1_000.0, 3.0]), 3.0);
        assert_eq!(median(&[2.0, 1.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
