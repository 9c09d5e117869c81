//! Items of Rust, found by matching brackets in the tokens: functions and their lengths,
//! attributes, and the parts that are compiled for tests only.
//!
//! It knows no grammar beyond that; what a macro makes is not seen.

use std::ops::Range;

use super::lexer::Token;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// From there to the closing brace.
    pub lines: usize,
}

pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        // `fn(` is a type and `fn $name` a macro's pattern.
        if keyword.text != "fn" || !is_ident(&name.text) {
            continue;
        }
        let body = item_end(tokens, at).and_then(|end| tokens.get(end));
        if let Some(end) = body.filter(|end| end.text == "}") {
            let lines = end.line - keyword.line + 1;
            found.push(Function { name: name.text.clone(), line: keyword.line, lines });
        }
    }
    found
}

fn is_ident(text: &str) -> bool {
    text.starts_with(|char: char| char == '_' || char.is_alphabetic())
}

/// Index of the token that ends the item which begins at `from`: `;`, or the brace that closes its
/// body. `None` if the tokens or the enclosing block end first.
fn item_end(tokens: &[Token], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return Some(at),
            // A constant expression among generic arguments, `Foo<{ N }>`, is no body.
            "{" if tokens.get(at.wrapping_sub(1)).is_none_or(|before| before.text != "<") => {
                return closing(tokens, at);
            }
            "{" | "(" | "[" => at = closing(tokens, at)?,
            "}" | ")" | "]" => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Index of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// An attribute, `#[...]` or `#![...]`.
pub struct Attribute {
    pub line: usize,
    /// From `#` to `]`.
    pub range: Range<usize>,
    /// What stands between the brackets, without white space.
    pub text: String,
}

pub fn attributes(tokens: &[Token]) -> Vec<Attribute> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "#") {
        let text_at = |at: usize| tokens.get(at).map(|token| token.text.as_str());
        let open = if text_at(at + 1) == Some("!") { at + 2 } else { at + 1 };
        if text_at(open) != Some("[") {
            continue;
        }
        if let Some(close) = closing(tokens, open) {
            let inside = tokens.get(open + 1..close).unwrap_or_default();
            let text = inside.iter().map(|token| token.text.as_str()).collect();
            found.push(Attribute { line: token.line, range: at..close + 1, text });
        }
    }
    found
}

/// The part of the tokens that an attribute which means "only for tests" stands before, with it.
pub fn test_items(tokens: &[Token]) -> Vec<Range<usize>> {
    let attributes = attributes(tokens);
    let only_tests = |text: &str| {
        let all = text.strip_prefix("cfg(all(").is_some_and(|rest| {
            rest.starts_with("test,") || rest.ends_with(",test))") || rest.contains(",test,")
        });
        text == "test" || text == "cfg(test)" || all
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| only_tests(&attribute.text)) {
        // Inside what is already left out.
        if found.last().is_some_and(|range| range.end > attribute.range.start) {
            continue;
        }
        let mut from = attribute.range.end;
        while let Some(next) = attributes.iter().find(|next| next.range.start == from) {
            from = next.range.end;
        }
        if let Some(end) = annotated_end(tokens, from) {
            found.push(attribute.range.start..end + 1);
        }
    }
    found
}

/// Index of the last token of what an attribute annotates: an item, or else a field, an argument, a
/// match arm or a statement, of which only the part up to the next comma is certain.
fn annotated_end(tokens: &[Token], from: usize) -> Option<usize> {
    const ITEMS: [&str; 15] = [
        "mod",
        "fn",
        "use",
        "impl",
        "struct",
        "enum",
        "union",
        "const",
        "static",
        "type",
        "trait",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
    ];
    let mut keyword = from;
    if tokens.get(keyword).is_some_and(|token| token.text == "pub") {
        keyword += 1;
        if tokens.get(keyword).is_some_and(|token| token.text == "(") {
            keyword = closing(tokens, keyword)? + 1;
        }
    }
    match tokens.get(keyword)?.text.as_str() {
        "{" => closing(tokens, keyword),
        "use" => (keyword..tokens.len()).find(|&at| tokens.get(at).is_some_and(|t| t.text == ";")),
        word if ITEMS.contains(&word) => item_end(tokens, keyword),
        _ => {
            let mut at = from;
            loop {
                match tokens.get(at)?.text.as_str() {
                    "," | ";" => return Some(at),
                    "(" | "[" | "{" => at = closing(tokens, at)?,
                    "}" | ")" | "]" => return at.checked_sub(1),
                    _ => {}
                }
                at += 1;
            }
        }
    }
}

pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let ranges = test_items(&tokens);
    let outside = |at: &usize| !ranges.iter().any(|range| range.contains(at));
    tokens.into_iter().enumerate().filter(|(at, _)| outside(at)).map(|(_, token)| token).collect()
}

/// The lines where this sequence of tokens begins.
pub fn find(tokens: &[Token], sequence: &[&str]) -> Vec<usize> {
    let is_here = |window: &[Token]| window.iter().zip(sequence).all(|(t, text)| t.text == *text);
    let windows = tokens.windows(sequence.len()).filter(|window| is_here(window));
    windows.filter_map(|window| window.first()).map(|token| token.line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;
    use super::*;

    fn measured(source: &str) -> Vec<(String, usize, usize)> {
        let functions = functions(&lex(source).tokens).into_iter();
        functions.map(|function| (function.name, function.line, function.lines)).collect()
    }

    fn shipped(source: &str) -> String {
        let tokens = without_tests(lex(source).tokens).into_iter();
        tokens.map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let source = "
fn one() {}
pub async fn two<const N: usize>(a: [u8; { 1 }]) -> Foo<{ N }>
where
    T: Fn(),
{
    let text = \"}\"; // }
    fn inner() {
    }
}
trait T { fn declared(&self) -> [u8; 4]; fn given(&self) {
} }
type F = fn(u8);
macro_rules! m { ($name:ident) => { fn $name() {} } }
";
        let expected = [("one", 2, 1), ("two", 3, 8), ("inner", 8, 2), ("given", 11, 2)]
            .map(|(name, a, b)| (name.to_owned(), a, b));
        assert_eq!(measured(source), expected);
    }

    #[test]
    fn what_is_for_tests_only_is_left_out() {
        assert_eq!(shipped("a #[cfg(test)] mod tests { x } b"), "a b");
        assert_eq!(shipped("a #[cfg(test)] #[path = \"x\"] mod tests; b"), "a b");
        assert_eq!(shipped("a #[cfg(all(test, unix))] pub(crate) fn f() { x } b"), "a b");
        assert_eq!(shipped("a #[cfg(test)] use std::{fs, io}; b"), "a b");
        assert_eq!(shipped("a #[test] fn f() -> Result<(), E> { x } b"), "a b");
        assert_eq!(shipped("{ #[cfg(test)] field: u8, b }"), "{ b }");
        assert_eq!(shipped("{ #[cfg(test)] field: u8 } b"), "{ } b");
        assert_eq!(shipped("{ #[cfg(test)] { x } b }"), "{ b }");
        assert_eq!(shipped("{ #[cfg(test)] let x = f(a, b); c }"), "{ c }");
    }

    #[test]
    fn what_is_not_only_for_tests_stays() {
        for source in [
            "# [ cfg ( not ( test ) ) ] fn f ( ) { }",
            "# [ cfg ( any ( test , unix ) ) ] fn f ( ) { }",
            "# [ cfg ( all ( not ( test ) , unix ) ) ] fn f ( ) { }",
            "# [ cfg ( testing ) ] fn f ( ) { }",
        ] {
            assert_eq!(shipped(source), source);
        }
    }
}
