//! Just enough of Rust's lexical grammar for the rules: tokens with their lines, comments apart.
//!
//! It is no parser. It tells code from text (strings, characters, raw strings, nested comments), so
//! that a rule about code is never misled by a word inside a literal or a comment.

/// A source file in pieces.
#[derive(Debug, Default)]
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    /// An identifier (raw ones without `r#`), a number, a lifetime, `::`, or one other character. A
    /// string or character literal is `""`.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    pub line: usize,
    /// With its slashes.
    pub text: String,
}

impl Comment {
    /// Whether rustdoc would show it.
    pub fn is_doc(&self) -> bool {
        let slashes = self.text.starts_with("///") && !self.text.starts_with("////");
        let stars = self.text.starts_with("/**") && !self.text.starts_with("/***");
        slashes || stars || self.text.starts_with("//!") || self.text.starts_with("/*!")
    }
}

/// What a literal becomes.
pub const LITERAL: &str = "\"\"";

pub fn lex(source: &str) -> Lexed {
    let mut lexer = Lexer { rest: source, line: 1, lexed: Lexed::default() };
    while let Some(next) = lexer.rest.chars().next() {
        lexer.step(next);
    }
    lexer.lexed
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    lexed: Lexed,
}

impl Lexer<'_> {
    fn step(&mut self, next: char) {
        if next.is_whitespace() {
            self.take(next.len_utf8());
        } else if self.rest.starts_with("//") {
            self.comment(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.comment(block_comment(self.rest));
        } else if next == '"' {
            self.token(string(self.rest, 0), LITERAL);
        } else if next == '\'' {
            self.quote();
        } else if is_ident_start(next) {
            self.word();
        } else if next.is_ascii_digit() {
            let text = self.rest.get(..number(self.rest)).unwrap_or_default().to_owned();
            self.token(text.len(), &text);
        } else if self.rest.starts_with("::") {
            self.token(2, "::");
        } else {
            self.token(next.len_utf8(), next.to_string().as_str());
        }
    }

    /// An identifier, or a literal with a prefix: `r"`, `br#"`, `b'`, `c"`.
    fn word(&mut self) {
        let length = ident(self.rest);
        let (word, behind) = self.rest.split_at(length);
        let prefix = matches!(word, "r" | "b" | "br" | "c" | "cr");
        let hashes = behind.len() - behind.trim_start_matches('#').len();
        let quoted = behind.get(hashes..).is_some_and(|text| text.starts_with('"'));
        if prefix && quoted && word.ends_with('r') {
            self.token(length + raw_string(behind, hashes), LITERAL);
        } else if prefix && quoted && hashes == 0 {
            self.token(string(self.rest, length), LITERAL);
        } else if word == "b" && behind.starts_with('\'') {
            self.take(length);
            self.quote();
        } else if word == "r" && hashes == 1 {
            self.take(length + 1);
        } else {
            let word = word.to_owned();
            self.token(length, &word);
        }
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        let mut chars = self.rest.char_indices().skip(1);
        let first = chars.next().map(|(_, char)| char);
        let second = chars.next();
        match (first, second) {
            (Some('\\'), _) => {
                // The escaped character may itself be a quote: '\''.
                let close = self.rest.get(3..).and_then(|text| text.find('\''));
                self.token(close.map_or(self.rest.len(), |close| 3 + close + 1), LITERAL);
            }
            (Some(_), Some((at, '\''))) => self.token(at + 1, LITERAL),
            _ => {
                let name = self.rest.get(1..).map_or(0, ident);
                let text = self.rest.get(..=name).unwrap_or("'").to_owned();
                self.token(text.len(), &text);
            }
        }
    }

    fn token(&mut self, bytes: usize, text: &str) {
        self.lexed.tokens.push(Token { line: self.line, text: text.to_owned() });
        self.take(bytes);
    }

    fn comment(&mut self, bytes: usize) {
        let text = self.rest.get(..bytes).unwrap_or(self.rest).to_owned();
        self.lexed.comments.push(Comment { line: self.line, text });
        self.take(bytes);
    }

    fn take(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }
}

fn is_ident_start(char: char) -> bool {
    char == '_' || char.is_alphabetic()
}

/// Length of the identifier that the text begins with, 0 if it does not.
fn ident(text: &str) -> usize {
    if !text.starts_with(is_ident_start) {
        return 0;
    }
    text.find(|char: char| char != '_' && !char.is_alphanumeric()).unwrap_or(text.len())
}

/// Length of the number: its dot belongs to it only when a digit follows.
fn number(text: &str) -> usize {
    let part = |text: &str| {
        text.find(|char: char| char != '_' && !char.is_ascii_alphanumeric()).unwrap_or(text.len())
    };
    let whole = part(text);
    match text.get(whole..).and_then(|behind| behind.strip_prefix('.')) {
        Some(fraction) if fraction.starts_with(|char: char| char.is_ascii_digit()) => {
            whole + 1 + part(fraction)
        }
        _ => whole,
    }
}

/// Length of a string literal whose opening quote stands at `open`.
fn string(text: &str, open: usize) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip_while(|&(at, _)| at <= open) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `##"..."##` from the first hash on.
fn raw_string(text: &str, hashes: usize) -> usize {
    let open = hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    match text.get(open..).and_then(|body| body.find(&close)) {
        Some(at) => open + at + close.len(),
        None => text.len(),
    }
}

/// Length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        lex(source).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn literals_hide_their_text() {
        for source in [
            r#""a { \" }""#,
            r####"r#"a " { "#"####,
            r#"b"{""#,
            r#"c"{""#,
            r####"br##"x"# "##"####,
            "'{'",
            r"'\''",
            r"'\\'",
            r"'\u{7b}'",
            "b'{'",
            "'é'",
            "\"two\nlines\"",
        ] {
            assert_eq!(texts(&format!("{source} ;")), [LITERAL, ";"], "{source}");
        }
    }

    #[test]
    fn lifetimes_raw_identifiers_and_numbers_are_no_literals() {
        assert_eq!(texts("<'a,'b>"), ["<", "'a", ",", "'b", ">"]);
        assert_eq!(texts("r#fn b r c"), ["fn", "b", "r", "c"]);
        assert_eq!(
            texts("0..9 1.5 x.0.1 0x_ff"),
            ["0", ".", ".", "9", "1.5", "x", ".", "0.1", "0x_ff"]
        );
        assert_eq!(texts("std::fs:x"), ["std", "::", "fs", ":", "x"]);
    }

    #[test]
    fn comments_stand_apart() {
        let lexed = lex("a // one { \"\n/* two /* three */ '\n */ b //! doc\n/// doc\n//// no");
        assert_eq!(lexed.tokens.len(), 2);
        assert_eq!(lexed.tokens.last().map(|token| token.line), Some(3));
        let comments: Vec<_> =
            lexed.comments.iter().map(|comment| (comment.line, comment.is_doc())).collect();
        assert_eq!(comments, [(1, false), (2, false), (3, true), (4, true), (5, false)]);
    }

    #[test]
    fn unfinished_text_ends_with_the_file() {
        for source in ["\"abc", "r#\"abc\"", "/* abc /* */", "'", "b'", "'\\", "b\"\\"] {
            lex(source);
        }
    }
}
