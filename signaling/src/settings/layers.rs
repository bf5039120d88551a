//! Flag before environment variable before file before default.

use super::{Invocation, SETTINGS, Settings};
use crate::{limits::LIMITS, setting::Setting};
use std::{collections::BTreeMap, fs, path::Path};

/// A setting that cannot be, or a file that cannot be read. Names key, place and what is
/// allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {words}")]
pub struct SettingsError {
    place: String,
    words: String,
}

/// The settings that hold. `variable` looks up environment variables.
pub fn load(
    invocation: &Invocation,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Settings, SettingsError> {
    let from_variable = variable("SHOAL_CONFIG").map(Into::into);
    let file = match invocation.config.as_ref().or(from_variable.as_ref()) {
        Some(path) => File::read(path)?,
        None => File::default(),
    };
    file.check_keys()?;
    let layers = Layers {
        invocation,
        variable,
        file,
    };
    let mut settings = Settings::default();
    for setting in SETTINGS {
        layers.apply(setting, &mut settings)?;
    }
    let mut pong_timeout_set = false;
    for limit in LIMITS {
        let set = layers.apply(limit, &mut settings.limits)?;
        pong_timeout_set |= set && limit.key == "pong-timeout-seconds";
    }
    if !pong_timeout_set {
        settings.limits.pong_timeout = settings.limits.heartbeat * 2;
    }
    match settings.check() {
        Ok(()) => Ok(settings),
        Err((key, words)) => Err(SettingsError {
            place: format!("--{key}"),
            words,
        }),
    }
}

/// A file's settings.
#[derive(Default)]
struct File {
    shown: String,
    values: BTreeMap<String, Vec<String>>,
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let shown = path.display().to_string();
        let failed = |words: String| SettingsError {
            place: shown.clone(),
            words,
        };
        let text =
            fs::read_to_string(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| failed(error.to_string().trim_end().into()))?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let texts = texts(&value)
                .ok_or_else(|| failed(format!("{key}: must be a value or a list of values")))?;
            values.insert(key, texts);
        }
        Ok(Self { shown, values })
    }

    /// A key that means nothing is a mistake that would go unnoticed.
    fn check_keys(&self) -> Result<(), SettingsError> {
        let known = |key: &str| {
            SETTINGS.iter().any(|setting| setting.key == key)
                || LIMITS.iter().any(|limit| limit.key == key)
        };
        match self.values.keys().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => Err(SettingsError {
                place: self.shown.clone(),
                words: format!("{key}: there is no such key; --print-config shows all"),
            }),
        }
    }
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::Array(values) => values.iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    }
}

fn text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

struct Layers<'a, V> {
    invocation: &'a Invocation,
    variable: V,
    file: File,
}

impl<V: Fn(&str) -> Option<String>> Layers<'_, V> {
    /// Sets what the uppermost layer says, if one says something.
    fn apply<T>(&self, setting: &Setting<T>, of: &mut T) -> Result<bool, SettingsError> {
        let Some((place, texts)) = self.find(setting) else {
            return Ok(false);
        };
        match (setting.read)(of, &texts) {
            Ok(()) => Ok(true),
            Err(words) => {
                let words = match setting.secret {
                    true => words,
                    false => format!("{words}; it is {}", texts.join(", ")),
                };
                Err(SettingsError { place, words })
            }
        }
    }

    fn find<T>(&self, setting: &Setting<T>) -> Option<(String, Vec<String>)> {
        if let Some(texts) = self.invocation.flags.get(setting.key) {
            return Some((setting.flag(), texts.clone()));
        }
        let variables = [Some(setting.variable()), setting.also.map(Into::into)];
        for name in variables.into_iter().flatten() {
            if let Some(text) = (self.variable)(&name) {
                let texts = match setting.many {
                    true => text.split(',').map(Into::into).collect(),
                    false => vec![text],
                };
                return Some((name, texts));
            }
        }
        let texts = self.file.values.get(setting.key)?;
        let place = format!("{}: {}", self.file.shown, setting.key);
        Some((place, texts.clone()))
    }
}
