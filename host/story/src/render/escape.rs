//! What keeps foreign text in its place: control characters made visible, and nothing that Markdown, HTML, Mermaid or a
//! terminal would act on.

use super::{CELL_CHARS_MAX, LABEL_CHARS_MAX};

/// Makes control characters, line breaks, bidirectional overrides and invisible characters visible: `\n` as `␊`, others
/// as `\u{202e}`. What remains is one line that a terminal only shows.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut shown, c);
    }
    shown
}

/// As [`plain`], line by line: line feeds stay, tabs become spaces.
#[must_use]
pub(super) fn plain_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('\n'),
            '\t' => shown.push_str("    "),
            c => push_visible(&mut shown, c),
        }
    }
    shown
}

fn push_visible(shown: &mut String, c: char) {
    match c {
        '\0'..='\x1f' => shown.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('?')),
        '\x7f' => shown.push('\u{2421}'),
        c if is_hidden(c) => shown.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        c => shown.push(c),
    }
}

/// True for characters that are not seen, or that change how others are seen.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// At most `chars_max` characters, the last one `…` when some were cut off.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(chars_max.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// A text inside a Markdown line, in a cell of a table too: as it is where Markdown sees nothing in it, else as code.
pub(super) fn inline_text(text: &str) -> String {
    if text.is_empty() {
        "\"\"".to_owned()
    } else if is_plain(text) {
        cut(text, CELL_CHARS_MAX)
    } else {
        inline_code(text)
    }
}

/// A text as code inside a Markdown line, in a cell of a table too.
pub(super) fn inline_code(text: &str) -> String {
    let text = cut(&plain(text), CELL_CHARS_MAX);
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    // A backtick could end the span, a bar the cell; renderers disagree about backslashes before a bar.
    if text.contains(['`', '|']) {
        return format!("<code>{}</code>", entities(&text));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c == ' ');
    let blank = text.chars().all(|c| c == ' ');
    let pad = if !blank && edge(text.chars().next()) && edge(text.chars().last()) {
        " "
    } else {
        ""
    };
    format!("`{pad}{text}{pad}`")
}

/// True when Markdown, GitHub's additions included, shows the text as it stands.
fn is_plain(text: &str) -> bool {
    let alphanumeric = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
    let digit = |c: Option<&char>| c.is_some_and(char::is_ascii_digit);
    let chars: Vec<char> = text.chars().collect();
    let fits = |at: usize| {
        let before = if at == 0 { None } else { chars.get(at - 1) };
        let after = chars.get(at + 1);
        match chars[at] {
            // One at a time, and none at the edges: they would be lost.
            ' ' => before.is_some_and(|c| *c != ' ') && after.is_some(),
            // Inside a word it does not begin an emphasis.
            '_' => alphanumeric(before) && alphanumeric(after),
            // Not in `:word:`, which is an emoji, nor in `http:`, which is a link.
            ':' => {
                (digit(before) || alphanumeric(before) && after == Some(&' '))
                    && (digit(after) || after == Some(&' '))
            }
            '.' | ',' | '-' | '+' | '/' | '%' | '(' | ')' | '=' | '\'' => true,
            c => c.is_alphanumeric(),
        }
    };
    (0..chars.len()).all(fits) && !text.to_ascii_lowercase().contains("www.") && text != "null"
}

fn entities(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            encoded.push_str(&format!("&#{};", u32::from(c)));
        } else {
            encoded.push(c);
        }
    }
    encoded
}

/// A paragraph of somebody's prose, on one line: words as they are, everything that Markdown acts on escaped.
pub(super) fn prose(text: &str) -> String {
    let words: Vec<&str> = text
        .split([' ', '\n', '\r', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    let text = plain(&words.join(" "));
    let mut safe = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '<' | '>' | '&' => safe.push_str(&format!("&#{};", u32::from(c))),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '#' | '!' | '@' => {
                safe.push('\\');
                safe.push(c);
            }
            // Would begin a list, a rule or a heading: `- x`, `+ x`, `1. x`, `1) x`, `===`, `: x`.
            '-' | '+' | '=' | ':' if at == 0 => {
                safe.push('\\');
                safe.push(c);
            }
            '.' | ')' if text[..at].chars().all(|c| c.is_ascii_digit()) => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// The inside of an HTML element or of a quoted attribute: on one line, nothing in it is acted on.
pub(super) fn html(text: &str) -> String {
    html_entities(&plain(text))
}

/// As [`html`], line by line, for `<pre>`.
pub(super) fn html_lines(text: &str) -> String {
    html_entities(&plain_lines(text))
}

fn html_entities(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A fenced block that its content cannot end, a line break at its end included.
pub(super) fn fence(language: &'static str, content: &str) -> String {
    let content = plain_lines(content);
    let content = content.trim_end_matches('\n');
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let ticks = "`".repeat(longest.max(2) + 1);
    format!("{ticks}{language}\n{content}\n{ticks}\n")
}

/// The inside of a quoted Mermaid label: letters, digits and a few marks; the rest as Mermaid's own `#35;`.
pub(super) fn mermaid(text: &str) -> String {
    let text = cut(&plain(text), LABEL_CHARS_MAX);
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric()
            || matches!(
                c,
                ' ' | '_' | '-' | '.' | '/' | ',' | ':' | '*' | '?' | '(' | ')'
            )
        {
            safe.push(c);
        } else {
            safe.push_str(&format!("#{};", u32::from(c)));
        }
    }
    if safe.trim().is_empty() {
        "#32;".to_owned()
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: std::fmt::Display>(escape: impl Fn(&str) -> T, cases: &[(&str, &str)]) {
        for (input, expect) in cases {
            assert_eq!(escape(input).to_string(), *expect, "{input:?}");
        }
    }

    #[test]
    fn hidden_characters_are_made_visible() {
        check(
            plain,
            &[
                ("plain größe", "plain größe"),
                ("a\r\n\tb\0", "a␍␊␉b␀"),
                ("\x1b[31mred\x7f", "␛[31mred␡"),
                ("a\u{202e}cba\u{2066}", "a\\u{202e}cba\\u{2066}"),
                ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
                ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ],
        );
        check(plain_lines, &[("a\nb\r\tc", "a\nb␍    c")]);
    }

    #[test]
    fn inline_text_is_plain_or_code() {
        check(
            inline_text,
            &[
                ("", "\"\""),
                ("null", "`null`"),
                ("-5.25", "-5.25"),
                ("2026-11-23 08:30:00", "2026-11-23 08:30:00"),
                ("orders_clean", "orders_clean"),
                ("_private_", "`_private_`"),
                (" padded", "` padded`"),
                (" both ", "`  both  `"),
                ("   ", "`   `"),
                ("two  spaces", "`two  spaces`"),
                (":smile:", "`:smile:`"),
                (":100:", "`:100:`"),
                ("note: fine", "note: fine"),
                ("http://x", "`http://x`"),
                ("www.example.org", "`www.example.org`"),
                ("a@b.c", "`a@b.c`"),
                ("#1", "`#1`"),
                ("<b>", "`<b>`"),
                ("a*b", "`a*b`"),
                ("a\nb", "`a␊b`"),
                ("a\\", "`a\\`"),
                ("a|b", "<code>a&#124;b</code>"),
                ("\\|<i>`", "<code>&#92;&#124;&#60;i&#62;&#96;</code>"),
            ],
        );
    }

    #[test]
    fn long_text_is_cut() {
        let long = inline_text(&"x".repeat(CELL_CHARS_MAX + 1));
        assert_eq!(long.chars().count(), CELL_CHARS_MAX);
        assert!(long.ends_with("x…"));
        assert_eq!(
            inline_text(&"x".repeat(CELL_CHARS_MAX)),
            "x".repeat(CELL_CHARS_MAX)
        );
        check(
            |text| cut(text, 2),
            &[("", ""), ("ab", "ab"), ("abc", "a…"), ("äöü", "ä…")],
        );
    }

    #[test]
    fn prose_keeps_words_and_escapes_marks() {
        check(
            prose,
            &[
                ("Orders, cleaned.\n  Daily.", "Orders, cleaned. Daily."),
                ("- item", "\\- item"),
                ("1. item", "1\\. item"),
                ("2) item", "2\\) item"),
                ("# head", "\\# head"),
                ("<script>", "&#60;script&#62;"),
                ("a_b *c* [d](e)", "a\\_b \\*c\\* \\[d\\](e)"),
                ("a\n\n# b\n```\nc", "a \\# b \\`\\`\\` c"),
            ],
        );
    }

    #[test]
    fn html_holds_no_markup() {
        check(
            html,
            &[
                ("größe 1 < 2", "größe 1 &lt; 2"),
                (
                    "\"><b a='x'>&amp;",
                    "&quot;&gt;&lt;b a=&#39;x&#39;&gt;&amp;amp;",
                ),
                ("a\nb\0", "a␊b␀"),
            ],
        );
        check(html_lines, &[("a\n<b>\u{202e}", "a\n&lt;b&gt;\\u{202e}")]);
    }

    #[test]
    fn fence_is_longer_than_any_run_inside() {
        check(
            |text| fence("text", text),
            &[
                ("a", "```text\na\n```\n"),
                ("a\n```\nb\n", "````text\na\n```\nb\n````\n"),
                ("`````", "``````text\n`````\n``````\n"),
            ],
        );
    }

    #[test]
    fn mermaid_labels_hold_no_syntax() {
        check(
            mermaid,
            &[
                ("raw:orders.csv", "raw:orders.csv"),
                ("\"]; click n0 \"", "#34;#93;#59; click n0 #34;"),
                ("a\nend", "a#9226;end"),
                ("", "#32;"),
            ],
        );
    }
}
