//! Objects that are read field by field.
//!
//! An object is taken apart once, into names and the texts of their values, and then asked for
//! what its kind wants. What serde derives for a struct or an enum holds every field twice and
//! is made anew for each: that was 8 kB of what a page downloads.

use super::{Error, Reader, Result};
use core::{fmt, ops::Range};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, Visitor},
};

/// Most fields of an object. Guess: four times what there are.
const MAX_FIELDS: usize = 64;

/// An object and where in its text the values of its fields are.
pub struct Object {
    text: Box<str>,
    fields: Vec<(Box<str>, Range<usize>)>,
}

impl Object {
    /// What serde calls the type; the reader knows it by this name.
    pub(super) const NAME: &'static str = "shoal::json::Object";

    fn parse(text: &str) -> Result<Self> {
        let mut fields: Vec<(Box<str>, Range<usize>)> = Vec::new();
        let mut reader = Reader::new(text);
        let mut items = reader.enter(b'{', "not an object")?;
        while let Some(name) = items.name()? {
            if fields.len() == MAX_FIELDS {
                return Err(Error::new("too many fields"));
            }
            if fields.iter().any(|(known, _)| **known == *name) {
                return Err(Error::new("a field stands twice"));
            }
            fields.push((name.into(), items.reader.value()?));
        }
        let text = text.into();
        Ok(Self { text, fields })
    }

    /// Reads a field.
    pub fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<T> {
        let text = self.text_of(name);
        let text = text.ok_or_else(|| de::Error::missing_field(name))?;
        // The text is one value, and of one value nothing is left.
        T::deserialize(&mut Reader::new(text)).map_err(|error| error.of(name))
    }

    /// Reads a field that may be missing, or null.
    pub fn find<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>> {
        match self.text_of(name) {
            None | Some("null") => Ok(None),
            Some(_) => self.get(name).map(Some),
        }
    }

    fn text_of(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(known, _)| **known == *name);
        field.map(|(_, value)| &self.text[value.clone()])
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object as text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> core::result::Result<Object, E> {
                Object::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_newtype_struct(Self::NAME, Text)
    }
}

/// Reads a struct from an object: a field that must be there with `get`, one that may be missing
/// with `find`, under its own name or another.
macro_rules! from_object {
    ($type:ident { $($how:ident $field:ident $(as $name:literal)?,)+ }) => {
        impl TryFrom<$crate::json::Object> for $type {
            type Error = $crate::json::Error;
            fn try_from(object: $crate::json::Object) -> Result<Self, Self::Error> {
                Ok(Self {
                    $($field: object.$how($crate::json::name_of!($field $($name)?))?,)+
                })
            }
        }
    };
}
pub(crate) use from_object;

/// The name of a field in JSON.
macro_rules! name_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}
pub(crate) use name_of;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::from_str;

    #[test]
    fn fields_are_read_as_they_are_asked_for() {
        let text = r#" {"n": 1, "none": null, "\u006eame": "sea", "new": {"n": [-1.5]}} "#;
        let object: Object = from_str(text).unwrap();
        assert_eq!(object.get("n"), Ok(1u32));
        assert_eq!(object.get("name"), Ok(String::from("sea")));
        assert_eq!(object.find::<u32>("none"), Ok(None));
        assert_eq!(object.find::<u32>("missing"), Ok(None));
        assert_eq!(object.get::<Object>("new").unwrap().fields.len(), 1);
    }

    #[test]
    fn errors_name_the_field() {
        let error = |text: &str| {
            let read = from_str(text).and_then(|object: Object| object.get::<u16>("n"));
            read.unwrap_err().to_string()
        };
        assert_eq!(error("{}"), "missing field `n`");
        assert_eq!(error("[1]"), "not an object");
        assert_eq!(error(r#"{"n":null}"#), "`n`: not a whole number from zero");
        assert_eq!(error(r#"{"n":1.5}"#), "`n`: not a whole number from zero");
        assert_eq!(
            error(r#"{"n":65536}"#),
            "`n`: not one of the values it may have"
        );
        assert_eq!(error(r#"{"n":1,"n":2}"#), "a field stands twice");
        let fields: Vec<_> = (0..=MAX_FIELDS).map(|n| format!(r#""{n}":0"#)).collect();
        assert_eq!(
            error(&format!("{{{}}}", fields.join(","))),
            "too many fields"
        );
    }
}
