//! Who decides what is logged: a flag, else a variable, else the project, else the default.

use clap::ValueEnum;
use odibi_plan::config::{LogLevel, Logging};

use super::Chosen;

/// Word of `--log-format` and `ODIBI_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, and nothing else.
    Json,
}

/// Word of `--log-level` and `ODIBI_LOG_LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevelWord {
    /// What failed.
    Error,
    /// What somebody should look at.
    #[value(alias = "warn")]
    Warning,
    /// What begins and ends.
    Info,
    /// What plugins say, and how far nodes are.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevelWord> for LogLevel {
    fn from(word: LogLevelWord) -> Self {
        match word {
            LogLevelWord::Error => Self::Error,
            LogLevelWord::Warning => Self::Warning,
            LogLevelWord::Info => Self::Info,
            LogLevelWord::Debug => Self::Debug,
            LogLevelWord::Trace => Self::Trace,
        }
    }
}

/// What flags and variables say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) level: Option<LogLevel>,
    pub(crate) format: Option<LogFormat>,
}

const FORMAT: &str = "ODIBI_LOG_FORMAT";
const LEVEL: &str = "ODIBI_LOG_LEVEL";

impl Given {
    /// Lines for people, whatever is set.
    pub(crate) fn text() -> Self {
        Self {
            level: None,
            format: Some(LogFormat::Text),
        }
    }

    /// What flags leave open, variables say.
    ///
    /// # Errors
    /// A variable that no flag overrides holds another word; what it holds is not said: it may be anything.
    pub(crate) fn or_variables(
        self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        Ok(Self {
            level: match self.level {
                Some(level) => Some(level),
                None => word::<LogLevelWord>(LEVEL, variable)?.map(LogLevel::from),
            },
            format: match self.format {
                Some(format) => Some(format),
                None => word(FORMAT, variable)?,
            },
        })
    }

    /// The format that a command line asks for which could not be read.
    pub(crate) fn guessed(
        args: &[std::ffi::OsString],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut words = args.iter().filter_map(|arg| arg.to_str());
        let mut found = None;
        while let Some(word) = words.next().filter(|word| *word != "--") {
            let value = match word.split_once('=') {
                Some(("--log-format", value)) => Some(value),
                _ if word == "--log-format" => words.next(),
                _ => None,
            };
            found = value.or(found);
        }
        let flag = found.and_then(|word| LogFormat::from_str(word, true).ok());
        Self {
            level: None,
            format: flag.or_else(|| word(FORMAT, variable).ok().flatten()),
        }
    }

    pub(super) fn over(self, logging: &Logging) -> Chosen {
        Chosen {
            level: self.level.or(logging.level).unwrap_or_default(),
            structured: match self.format {
                Some(format) => format == LogFormat::Json,
                None => logging.structured.unwrap_or(false),
            },
            metadata: logging.metadata.clone(),
        }
    }
}

fn word<T: ValueEnum>(
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<T>, String> {
    let Some(value) = variable(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    T::from_str(&value, true).map(Some).map_err(|_| {
        let words = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = words.map(|word| format!("`{}`", word.get_name())).collect();
        format!("the variable `{name}` is not one of {}", words.join(", "))
    })
}

/// Text that a terminal only shows: control characters become visible, but for line breaks, and, where colours of our
/// own may be in it, those.
pub(crate) fn visible(text: &str, styled: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n') {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let length = if styled { colour(from) } else { None };
        let length = length.unwrap_or_else(|| from.chars().next().map_or(0, char::len_utf8));
        let (control, after) = from.split_at(length);
        if control.chars().count() > 1 {
            shown.push_str(control);
        } else if control == "\t" {
            shown.push_str("    ");
        } else {
            shown.push_str(&odibi_story::render::plain(control));
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Length of the colour that a text begins with: `ESC [ 1;31 m`.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[end..].starts_with('m').then_some(end + 3)
}
