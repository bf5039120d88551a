//! Flag before environment variable before file before default.

use super::{Invocation, SETTINGS, Settings};
use crate::{limits::LIMITS, setting::Setting};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

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
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Settings, SettingsError> {
    let from_variable = variable("SHOAL_CONFIG").map(PathBuf::from);
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
    // Where each key that is set stands.
    let mut places = BTreeMap::new();
    for setting in SETTINGS {
        let place = layers.apply(setting, &mut settings)?;
        places.extend(place.map(|place| (setting.key, place)));
    }
    for limit in LIMITS {
        let place = layers.apply(limit, &mut settings.limits)?;
        places.extend(place.map(|place| (limit.key, place)));
    }
    if !places.contains_key("pong-timeout-seconds") {
        settings.limits.pong_timeout = settings.limits.heartbeat * 2;
    }
    settings.check().map_err(|conflict| {
        // Of defaults alone none contradict each other.
        let places = conflict.keys.iter().filter_map(|key| places.get(key));
        SettingsError {
            place: places.map(String::as_str).collect::<Vec<_>>().join(", "),
            words: conflict.words,
        }
    })?;
    Ok(settings)
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

impl<V: Fn(&str) -> Option<OsString>> Layers<'_, V> {
    /// Sets what the uppermost layer says, if one says something; returns where.
    fn apply<T>(&self, setting: &Setting<T>, of: &mut T) -> Result<Option<String>, SettingsError> {
        let Some((place, texts)) = self.find(setting)? else {
            return Ok(None);
        };
        match (setting.read)(of, &texts) {
            Ok(()) => Ok(Some(place)),
            Err(words) => {
                let words = match setting.secret {
                    true => words,
                    false => format!("{words}; it is {}", texts.join(", ")),
                };
                Err(SettingsError { place, words })
            }
        }
    }

    fn find<T>(
        &self,
        setting: &Setting<T>,
    ) -> Result<Option<(String, Vec<String>)>, SettingsError> {
        if let Some(texts) = self.invocation.flags.get(setting.key) {
            return Ok(Some((setting.flag(), texts.clone())));
        }
        let variables = [Some(setting.variable()), setting.also.map(Into::into)];
        for name in variables.into_iter().flatten() {
            if let Some(text) = (self.variable)(&name) {
                // As if it were not set, a server would let in whom it is to keep out.
                let text = text.into_string().map_err(|_| SettingsError {
                    place: name.clone(),
                    words: "must be UTF-8".into(),
                })?;
                let texts = match setting.many {
                    true => text.split(',').map(Into::into).collect(),
                    false => vec![text],
                };
                return Ok(Some((name, texts)));
            }
        }
        let texts = self.file.values.get(setting.key);
        let place = format!("{}: {}", self.file.shown, setting.key);
        Ok(texts.map(|texts| (place, texts.clone())))
    }
}
