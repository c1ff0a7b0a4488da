//! What the command line asks of a fuzz runner: `--seed N`, so many inputs under a name of their own, `--only N`.

/// What is asked.
pub(crate) struct Asked {
    /// Where the random numbers begin.
    pub(crate) seed: u64,
    /// How many inputs.
    pub(crate) count: u64,
    /// Only the one of this number.
    pub(crate) only: Option<u64>,
}

impl Asked {
    /// Of the test `test`, whose inputs are counted by the option `counted`. `None`: asked for another test, or for a list
    /// of tests.
    pub(crate) fn read(
        mut args: impl Iterator<Item = String>,
        test: &str,
        counted: &str,
        (seed, count): (u64, u64),
    ) -> Option<Self> {
        let mut asked = Self {
            seed,
            count,
            only: None,
        };
        let number = |text: Option<String>| {
            let text = text.expect("a number after the option");
            let digits = text.strip_prefix("0x");
            digits
                .map_or(text.parse(), |d| u64::from_str_radix(d, 16))
                .expect("a number")
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seed" => asked.seed = number(args.next()),
                "--only" => asked.only = Some(number(args.next())),
                "--list" => {
                    println!("{test}: test");
                    return None;
                }
                "--skip" | "--test-threads" | "--format" => drop(args.next()),
                option if option == counted => asked.count = number(args.next()),
                filter if !filter.starts_with('-') && !test.contains(filter) => return None,
                _ => {}
            }
        }
        Some(asked)
    }
}
