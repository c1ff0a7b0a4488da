//! Rust text without what a search must not find: comments, the insides of strings, and test modules.

/// The text with comments and literals blanked; every line keeps its number.
pub(super) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    out
}

/// [`code`] without the bodies of `#[cfg(test)] mod …`.
pub(super) fn code_without_tests(text: &str) -> String {
    let mut code = code(text);
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        from = start + 1;
        let Some(open) = code[start..].find('{').map(|i| start + i) else {
            break;
        };
        if !words(&code[start..open]).contains(&"mod") {
            continue;
        }
        let end = open + closing(&code[open..]);
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// Identifiers and keywords, in order.
pub(super) fn words(code: &str) -> Vec<&str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect()
}

/// Index behind the brace or parenthesis that closes the one `code` begins with.
pub(super) fn closing(code: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + c.len_utf8();
        }
    }
    code.len()
}

/// Index behind the comment or literal that begins at `at`; `at` when none does.
fn literal_or_comment_end(chars: &[char], at: usize) -> usize {
    let next = |i: usize| chars.get(at + i).copied().unwrap_or(' ');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => position(chars, at, |i| chars[i] == '\n'),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => quoted_end(chars, at + 1, '"'),
        'r' if !in_word || chars[at - 1] == 'b' => raw_end(chars, at),
        '\'' if next(1) == '\\' => quoted_end(chars, at + 1, '\''),
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn position(chars: &[char], from: usize, is: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| is(*i)).unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0usize;
    let mut i = at;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
            }
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`; anything else that begins with `r` is no literal.
fn raw_end(chars: &[char], at: usize) -> usize {
    let quote = position(chars, at + 1, |i| chars[i] != '#');
    if chars.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - at - 1;
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    (position(chars, quote + 1, closes) + 1 + hashes).min(chars.len())
}

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    assert_eq!(words(&code(text)), expect, "{}", code(text));
}

#[test]
fn comments_and_literals_are_blanked_and_code_is_not() {
    check("let a = 1; // async b\nc", &["let", "a", "1", "c"]);
    check("/* x /* y */ async */ a", &["a"]);
    check("f(\"async \\\" tokio\") g", &["f", "g"]);
    check("r#\"async \" tokio\"# a br\"x\" b", &["a", "b", "b"]);
    check("'\"' a '\\'' b <'c> d", &["a", "b", "c", "d"]);
    check(
        "for r in rows { r.len() }",
        &["for", "r", "in", "rows", "r", "len"],
    );
    check("//! async\n/// tokio\nfn f() {}", &["fn", "f"]);
}

#[test]
fn lines_keep_their_numbers() {
    let text = "a\n/* b\nc */\n\"d\ne\"\nf";
    assert_eq!(code(text).lines().count(), text.lines().count());
    assert_eq!(code(text).lines().last(), Some("f"));
}

#[test]
fn test_modules_are_left_out_and_nothing_else() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { \"}\" } }\n#[cfg(test)]\nfn c() {}\nfn d() {}";
    assert_eq!(
        words(&code_without_tests(text)),
        ["fn", "a", "cfg", "test", "fn", "c", "fn", "d"]
    );
}
