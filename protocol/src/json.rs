//! Reading JSON: messages, payloads, pages, records.
//!
//! It reads what the types of this project say: whole numbers that are not negative, and no
//! other numbers. What is not known is skipped, and must be JSON all the same. A reader that
//! knows all types, and quotes in its errors what it found, is a tenth of what a page
//! downloads; here an error names the field at which reading ended. JSON is written by
//! `serde_json`.

mod object;

pub use object::Object;
pub(crate) use object::{from_object, name_of};

use core::{fmt, ops::Range};
use serde::{
    Deserialize, Deserializer, de,
    de::{DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor},
    forward_to_deserialize_any,
};
use std::borrow::Cow;

/// Deepest nesting that is read, so that no text uses up the stack: as in `serde_json`.
const MAX_DEPTH: usize = 127;

/// Reads the value that a text is.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T> {
    let mut reader = Reader::new(text);
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| match reader.field {
        "" => error,
        field => error.of(field),
    })
}

/// Why a text was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<str>);

type Result<T> = core::result::Result<T, Error>;

impl Error {
    fn new(what: &str) -> Self {
        Self(what.into())
    }

    fn of(self, field: &str) -> Self {
        Self(["`", field, "`: ", &self.0].concat().into())
    }
}

/// Without what was found instead: see above.
impl de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string().into())
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("not of the right type")
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new("not one of the values it may have")
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::new("not of the right length")
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("not one of the words it may be")
    }

    fn unknown_field(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("not a known field")
    }

    fn missing_field(field: &'static str) -> Self {
        Self(["missing field `", field, "`"].concat().into())
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::new("stands twice")
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
    /// The last field that was come to.
    field: &'de str,
}

impl<'de> Reader<'de> {
    fn new(text: &'de str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            field: "",
        }
    }

    /// The byte to be read, or 0, which is nowhere in JSON.
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn next_byte(&mut self) -> u8 {
        let byte = self.byte();
        self.at += 1;
        byte
    }

    /// The first byte of what comes next.
    fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    fn consume(&mut self, byte: u8, what: &str) -> Result<()> {
        if self.peek() != byte {
            return Err(Error::new(what));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.peek();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err(Error::new("something follows its end")),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        self.peek();
        if !self.text[self.at..].starts_with(word) {
            return Err(Error::new("not JSON"));
        }
        self.at += word.len();
        Ok(())
    }

    fn boolean(&mut self) -> Result<bool> {
        let value = match self.peek() {
            b't' => true,
            b'f' => false,
            _ => return Err(Error::new("not true or false")),
        };
        self.word(if value { "true" } else { "false" })?;
        Ok(value)
    }

    fn number(&mut self) -> Result<u64> {
        self.peek();
        let start = self.at;
        self.digits("not a whole number from zero")?;
        if matches!(self.byte(), b'.' | b'e' | b'E') {
            return Err(Error::new("not a whole number from zero"));
        }
        let number = self.text[start..self.at].parse();
        number.map_err(|_| Error::new("too large a number"))
    }

    /// A zero, or digits that begin with another.
    fn digits(&mut self, what: &str) -> Result<()> {
        match self.next_byte() {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return Err(Error::new(what)),
        }
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Cow<'de, str>> {
        self.consume(b'"', "not a text")?;
        let mut text = Cow::Borrowed("");
        loop {
            let (piece, escaped) = self.piece()?;
            text += piece;
            match escaped {
                None => return Ok(text),
                Some(character) => text.to_mut().push(character),
            }
        }
    }

    /// What of a text stands for itself, up to its end or the character that is escaped then.
    fn piece(&mut self) -> Result<(&'de str, Option<char>)> {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        let piece = &self.text[start..self.at];
        match self.next_byte() {
            b'"' => Ok((piece, None)),
            b'\\' => Ok((piece, Some(self.escaped()?))),
            _ => Err(Error::new("a text that does not end")),
        }
    }

    fn skip_string(&mut self) -> Result<()> {
        self.consume(b'"', "not a text")?;
        while self.piece()?.1.is_some() {}
        Ok(())
    }

    fn escaped(&mut self) -> Result<char> {
        Ok(match self.next_byte() {
            byte @ (b'"' | b'\\' | b'/') => byte.into(),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode().ok_or_else(|| Error::new("not Unicode")),
            _ => return Err(Error::new("a backslash before something else")),
        })
    }

    /// A character as one unit of UTF-16, or as a pair of them.
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        let second = match first {
            0xd800..0xdc00 => {
                self.text.get(self.at..)?.strip_prefix("\\u")?;
                self.at += 2;
                Some(self.unit()?)
            }
            _ => None,
        };
        char::decode_utf16([first].into_iter().chain(second))
            .next()?
            .ok()
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    }

    /// Goes into a list or an object.
    fn enter(&mut self, begin: u8, what: &str) -> Result<Items<'_, 'de>> {
        self.consume(begin, what)?;
        if self.depth == MAX_DEPTH {
            return Err(Error::new("nested too deep"));
        }
        self.depth += 1;
        Ok(Items {
            reader: self,
            // `[` and `]`, `{` and `}` are two apart in ASCII.
            end: begin + 2,
            is_first: true,
        })
    }

    fn leave(&mut self, end: u8) -> Result<()> {
        self.depth -= 1;
        self.consume(end, "more items than there may be")
    }

    /// Where a value is, whatever it is.
    fn value(&mut self) -> Result<Range<usize>> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(start..self.at)
    }

    fn skip(&mut self) -> Result<()> {
        match self.peek() {
            b'"' => self.skip_string(),
            b't' | b'f' => self.boolean().map(|_| ()),
            b'n' => self.word("null"),
            begin @ (b'[' | b'{') => {
                let mut items = self.enter(begin, "")?;
                while match begin {
                    b'{' => items.name()?.is_some(),
                    _ => items.another()?,
                } {
                    items.reader.skip()?;
                }
                self.leave(begin + 2)
            }
            _ => self.skip_number(),
        }
    }

    fn skip_number(&mut self) -> Result<()> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        self.digits("not JSON")?;
        if self.byte() == b'.' {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<()> {
        let start = self.at;
        self.skip_digits();
        match self.at > start {
            true => Ok(()),
            false => Err(Error::new("not JSON")),
        }
    }
}

/// The items of a list, or the fields of an object.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    end: u8,
    is_first: bool,
}

impl<'de> Items<'_, 'de> {
    /// Whether another follows; goes to it.
    fn another(&mut self) -> Result<bool> {
        if self.reader.peek() == self.end {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.is_first, false) {
            self.reader.consume(b',', "a comma is missing")?;
        }
        Ok(true)
    }

    /// The name of the next field.
    fn name(&mut self) -> Result<Option<Cow<'de, str>>> {
        if !self.another()? {
            return Ok(None);
        }
        let name = self.reader.string()?;
        self.reader.consume(b':', "a colon is missing")?;
        Ok(Some(name))
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        match self.another()? {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some(name) = self.name()? else {
            return Ok(None);
        };
        if let Cow::Borrowed(name) = name {
            self.reader.field = name;
        }
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            b'"' => self.deserialize_str(visitor),
            b'[' => self.deserialize_seq(visitor),
            b'{' => self.deserialize_map(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => {
                self.word("null")?;
                visitor.visit_unit()
            }
            _ => self.deserialize_u64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.number()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            b'n' => {
                self.word("null")?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        if name != Object::NAME {
            return visitor.visit_newtype_struct(self);
        }
        let value = self.value()?;
        visitor.visit_borrowed_str(&self.text[value])
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let value = visitor.visit_seq(self.enter(b'[', "not a list")?)?;
        self.leave(b']')?;
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let value = visitor.visit_map(self.enter(b'{', "not an object")?)?;
        self.leave(b'}')?;
        Ok(value)
    }

    // A list is not taken for the fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    /// Words only: no variant has anything in it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self.string()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::{Map, Value, json};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Shell {
        size: u16,
        name: Option<String>,
        #[serde(default)]
        colours: Vec<Colour>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        White,
    }

    fn error(text: &str) -> String {
        from_str::<Shell>(text).unwrap_err().to_string()
    }

    #[test]
    fn fields_are_read_and_others_skipped() {
        let text = r#" { "size" : 65535, "name": "\u00e9\ud83d\ude00\n", "new": [{"a":-1.5e+3},null],
            "colours": ["red", "white"] } "#;
        let shell = Shell {
            size: 65535,
            name: Some("é😀\n".into()),
            colours: vec![Colour::Red, Colour::White],
        };
        assert_eq!(from_str(text), Ok(shell));
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(error("{}"), "missing field `size`");
        assert_eq!(error("[1]"), "not an object");
        assert_eq!(
            error(r#"{"size":1.5}"#),
            "`size`: not a whole number from zero"
        );
        assert_eq!(
            error(r#"{"size":-1}"#),
            "`size`: not a whole number from zero"
        );
        assert_eq!(
            error(r#"{"size":65536}"#),
            "`size`: not one of the values it may have"
        );
        assert_eq!(error(r#"{"size":1,"size":1}"#), "`size`: stands twice");
        assert_eq!(
            error(r#"{"colours":["blue"]}"#),
            "`colours`: not one of the words it may be"
        );
    }

    #[test]
    fn no_nesting_uses_up_the_stack() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(from_str::<IgnoredAny>(&nested(MAX_DEPTH)).is_ok());
        assert!(from_str::<IgnoredAny>(&nested(MAX_DEPTH + 1)).is_err());
        assert!(from_str::<IgnoredAny>(&nested(1_000_000)).is_err());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..4)
                    .prop_map(|fields| Value::from(Map::from_iter(fields))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values()) {
            for text in [value.to_string(), format!("{value:#}")] {
                prop_assert_eq!(from_str(&text), Ok(value.clone()));
            }
        }

        /// Nothing is taken that `serde_json` refuses, or for something else.
        #[test]
        fn damaged_texts_are_read_as_others_read_them(
            value in values(),
            at: prop::sample::Index,
            with in "[\\[\\]{}\":,.0-9eE+tfn \\\\u-]{0,3}",
        ) {
            let mut text = json!({ "key": value }).to_string();
            let (start, old) = text.char_indices().nth(at.index(text.chars().count())).unwrap();
            text.replace_range(start..start + old.len_utf8(), &with);
            if let Ok(read) = from_str::<Value>(&text) {
                prop_assert_eq!(read, serde_json::from_str::<Value>(&text).unwrap());
            }
            let skipped = from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(skipped, serde_json::from_str::<IgnoredAny>(&text).is_ok());
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = from_str::<Value>(&text);
            let _ = from_str::<Shell>(&text);
        }
    }
}
