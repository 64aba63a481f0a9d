//! What happens too often to be logged each time.

/// Counts, and says when to say so: at the 1st, 2nd, 4th, 8th, … time.
#[derive(Debug, Default)]
pub struct Tally(u64);

impl Tally {
    /// It happened once more. Returns how often, if it is worth a line.
    pub fn count(&mut self) -> Option<u64> {
        self.0 = self.0.saturating_add(1);
        self.0.is_power_of_two().then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_rarer() {
        let mut tally = Tally::default();
        let told: Vec<u64> = (0..100).filter_map(|_| tally.count()).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64]);
    }
}
