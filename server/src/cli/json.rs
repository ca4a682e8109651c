//! JSON on its way out: objects and arrays written as they come, in one line.

use std::fmt::Write;

/// A JSON text in the making. Values are separated as needed; who writes keeps what is open in mind.
#[derive(Debug, Default)]
pub(super) struct Json(String);

impl Json {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// An object whose members `fill` writes.
    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested('{', '}', fill)
    }

    /// An array whose elements `fill` writes.
    pub(super) fn array(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested('[', ']', fill)
    }

    /// The name of the member whose value comes next.
    pub(super) fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.0.push(':');
        self
    }

    /// A string.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.separate();
        self.0.push('"');
        for c in text.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c < ' ' || c == '\u{7f}' => {
                    write!(self.0, "\\u{:04x}", u32::from(c)).expect("a string takes everything");
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        self.separate();
        write!(self.0, "{}", number.into()).expect("a string takes everything");
        self
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.separate();
        self.0.push_str(if flag { "true" } else { "false" });
        self
    }

    /// `null`.
    pub(super) fn null(&mut self) -> &mut Self {
        self.separate();
        self.0.push_str("null");
        self
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.separate();
        self.0.push_str(json);
        self
    }

    /// A string, or `null`.
    pub(super) fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// What has been written.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Forgets what has been written and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn nested(&mut self, open: char, close: char, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.separate();
        self.0.push(open);
        fill(self);
        self.0.push(close);
        self
    }

    /// A comma where a value has gone before.
    fn separate(&mut self) {
        if !matches!(self.0.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.0.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_separated_and_escaped() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("a").number(1).key("b").text("q\"\\\n\u{1}é");
            json.key("c").array(|json| {
                json.flag(true).null().array(|_| {}).object(|_| {});
            });
        });
        assert_eq!(json.as_str(), r#"{"a":1,"b":"q\"\\\n\u0001é","c":[true,null,[],{}]}"#);
    }

    #[test]
    fn a_text_that_ends_like_an_opening_is_still_followed_by_a_comma() {
        let mut json = Json::new();
        json.array(|json| {
            json.text("{").text("[").text(":").number(-1);
        });
        assert_eq!(json.as_str(), r#"["{","[",":",-1]"#);
    }
}
