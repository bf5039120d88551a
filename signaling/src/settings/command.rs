//! The command line: a flag for every setting.

use super::{SETTINGS, Settings};
use crate::{limits::LIMITS, setting::Setting};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

/// What stood on the command line.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--print-config`.
    pub print_config: bool,
    /// The values of flags, by key.
    pub flags: BTreeMap<&'static str, Vec<String>>,
}

/// Reads a command line; help, version and what cannot be read come back as clap's errors.
pub fn invocation(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let mut flags = BTreeMap::new();
    for key in keys() {
        if let Some(values) = matches.get_many::<String>(key) {
            flags.insert(key, values.cloned().collect());
        }
    }
    Ok(Invocation {
        config: path(&matches, "config"),
        print_config: matches.get_flag("print-config"),
        flags,
    })
}

fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one::<PathBuf>(name).cloned()
}

fn keys() -> impl Iterator<Item = &'static str> {
    let limits = LIMITS.iter().map(|limit| limit.key);
    flags().map(|setting| setting.key).chain(limits)
}

fn flags() -> impl Iterator<Item = &'static Setting<Settings>> {
    SETTINGS.iter().filter(|setting| !setting.secret)
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with settings, named as the flags are; also SHOAL_CONFIG");
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the settings that hold, as such a file, passwords in URLs included, and end");
    Command::new("shoal-signaling")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Introduces peers of Shoal to each other, and serves the page and the package")
        .long_about(
            "Introduces peers of Shoal to each other, and serves the page and the package.\n\n\
             The first line on standard output says where it listens; logs go to standard \
             error. Every setting can also come from an environment variable \
             (--lease-seconds: SHOAL_LEASE_SECONDS; lists with commas) or from a TOML file \
             (lease-seconds = 60). A flag goes before a variable, that before the file.",
        )
        .arg(config)
        .arg(print)
        .args(flags().map(flag))
        .next_help_heading("Limits")
        .args(LIMITS.iter().map(|limit| {
            let shown = (limit.show)(&crate::limits::Limits::default());
            let default = shown.map_or_else(String::new, |value| format!(" [default: {value}]"));
            let help = format!("{}{default}", limit.meaning());
            flag(limit).help(help).hide_short_help(true)
        }))
}

fn flag<T>(setting: &Setting<T>) -> Arg {
    // Where the value is no number the unit says what it is.
    let name = match setting.unit {
        "" => "VALUE",
        unit if unit.starts_with(|first: char| first.is_ascii_uppercase()) => unit,
        _ => "NUMBER",
    };
    Arg::new(setting.key)
        .long(setting.key)
        .value_name(name)
        .help(setting.meaning())
        // A negative number is told what is allowed, not that there is no such flag.
        .allow_hyphen_values(true)
        .action(if setting.many {
            ArgAction::Append
        } else {
            ArgAction::Set
        })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_is_well_formed() {
        super::command().debug_assert();
    }
}
