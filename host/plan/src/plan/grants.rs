//! What a project may give a plugin beyond its tables. By default that is nothing.

/// What a plugin was granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants {
    /// Its clocks tell the real time instead of the run's logical time.
    pub clock: bool,
    /// Its random numbers are real instead of the same for each run.
    pub entropy: bool,
}

impl Grants {
    /// As the YAML says them, sorted. Empty for a plugin whose results depend on its input alone.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let all = [("clock", self.clock), ("entropy", self.entropy)];
        let given = all.iter().filter(|(_, given)| *given);
        given.map(|(word, _)| *word).collect()
    }

    /// What [`Grants::words`] wrote. Words that this version does not know grant nothing.
    #[must_use]
    pub fn from_words(words: &[String]) -> Self {
        let given = |word| words.iter().any(|w| w == word);
        Self {
            clock: given("clock"),
            entropy: given("entropy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_grants_are_the_same_said_twice() {
        for (clock, entropy) in [(false, false), (false, true), (true, false), (true, true)] {
            let grants = Grants { clock, entropy };
            let words: Vec<String> = grants.words().into_iter().map(str::to_owned).collect();
            assert_eq!(words.len(), usize::from(clock) + usize::from(entropy));
            assert_eq!(Grants::from_words(&words), grants);
        }
        assert_eq!(
            Grants::from_words(&["network".to_owned()]),
            Grants::default()
        );
    }
}
