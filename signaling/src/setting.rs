//! What a setting is: a key with its meaning, and how its value is read and shown.
//!
//! A key is spelled the same way everywhere: `lease-seconds` is that in a file, the flag
//! `--lease-seconds`, and the environment variable `SHOAL_LEASE_SECONDS`.

use std::{fmt, ops::RangeInclusive, time::Duration};

/// One setting of a `T`.
pub struct Setting<T: 'static> {
    /// Its name in a file.
    pub key: &'static str,
    /// What it is counted in; empty for texts.
    pub unit: &'static str,
    /// What it means, in lines.
    pub meaning: &'static [&'static str],
    /// Where its default comes from.
    pub origin: &'static str,
    /// Whether it takes several values.
    pub many: bool,
    /// A further environment variable, of less weight.
    pub also: Option<&'static str>,
    /// Whether it is never shown, and has no flag, since other users of a machine can read those.
    pub secret: bool,
    /// Sets it; what was wrong comes back as what is allowed.
    pub read: fn(&mut T, &[String]) -> Result<(), String>,
    /// Its value; none if it is not set.
    pub show: fn(&T) -> Option<Shown>,
}

impl<T> Setting<T> {
    /// Its flag.
    pub fn flag(&self) -> String {
        format!("--{}", self.key)
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("SHOAL_{}", self.key.to_ascii_uppercase().replace('-', "_"))
    }

    /// What it means, in one line.
    pub fn meaning(&self) -> String {
        let lines: Vec<&str> = self.meaning.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }
}

/// A value as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it is.
    Number(String),
    /// In quotes.
    Text(String),
    /// Several, in quotes.
    List(Vec<String>),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
        match self {
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(texts) => {
                let texts: Vec<String> = texts.iter().map(quoted).collect();
                write!(f, "[{}]", texts.join(", "))
            }
        }
    }
}

/// A number, or a span as a number of seconds.
pub trait Value: Sized + PartialOrd {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// Reads it.
    fn parse(text: &str) -> Option<Self>;
    /// Writes it.
    fn text(&self) -> String;
    /// Shows it.
    fn show(&self) -> Shown {
        Shown::Number(self.text())
    }
}

macro_rules! whole {
    ($($type:ty)+) => {$(
        impl Value for $type {
            const WHAT: &'static str = "a whole number";
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn text(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
whole!(u32 usize);

impl Value for f64 {
    const WHAT: &'static str = "a number";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const WHAT: &'static str = "a number of seconds";
    fn parse(text: &str) -> Option<Self> {
        Duration::try_from_secs_f64(text.parse().ok()?).ok()
    }
    fn text(&self) -> String {
        self.as_secs_f64().to_string()
    }
}

/// Reads the one value of a setting within its bounds.
pub fn read<T: Value>(texts: &[String], allowed: RangeInclusive<T>) -> Result<T, String> {
    let value = T::parse(one(texts)?.trim());
    value
        .filter(|value| allowed.contains(value))
        .ok_or_else(|| {
            let (least, most) = (allowed.start().text(), allowed.end().text());
            format!("must be {} from {least} to {most}", T::WHAT)
        })
}

/// The one text of a setting that takes no list.
pub fn one(texts: &[String]) -> Result<&str, String> {
    match texts {
        [text] => Ok(text),
        _ => Err("must be one value, not a list".into()),
    }
}
