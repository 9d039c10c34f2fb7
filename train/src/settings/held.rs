//! How a config keeps what was given.

use serde::Serialize;

use crate::values::{ByteSize, LrDrop, Sizes};

/// A config's form of a `Given`: as it is, as an option, or what is in it.
pub(super) trait Held<Given> {
    /// Takes what was given.
    fn hold(&mut self, given: Given);
    /// What would have to be given for this; none where nothing would.
    fn give(&self) -> Option<Given>;
}

impl<T: Clone> Held<T> for T {
    fn hold(&mut self, given: T) {
        *self = given;
    }

    fn give(&self) -> Option<T> {
        Some(self.clone())
    }
}

impl<T: Clone> Held<T> for Option<T> {
    fn hold(&mut self, given: T) {
        *self = Some(given);
    }

    fn give(&self) -> Option<T> {
        self.clone()
    }
}

impl Held<Sizes> for Vec<usize> {
    fn hold(&mut self, given: Sizes) {
        *self = given.0;
    }

    fn give(&self) -> Option<Sizes> {
        Some(Sizes(self.clone()))
    }
}

impl Held<LrDrop> for Option<Vec<usize>> {
    fn hold(&mut self, given: LrDrop) {
        *self = Some(given.0);
    }

    fn give(&self) -> Option<LrDrop> {
        self.clone().map(LrDrop)
    }
}

impl Held<ByteSize> for Option<u64> {
    fn hold(&mut self, given: ByteSize) {
        *self = Some(given.0);
    }

    fn give(&self) -> Option<ByteSize> {
        self.map(ByteSize)
    }
}

/// A line of the help: what the setting is and its default. That of a switch, which takes no value, is not to be given.
pub(super) fn described(
    help: &str,
    value: Option<&&str>,
    default: Option<impl Serialize>,
    instead: Option<&&str>,
) -> String {
    let help = help.trim().trim_end_matches('.');
    let default = default.and_then(|default| toml::Value::try_from(default).ok()).map(|default| as_typed(&default));
    match value.and(default.or(instead.map(|words| words.to_string()))) {
        Some(default) => format!("{help} [default: {default}]"),
        None => help.into(),
    }
}

/// A value of a config file as it is written behind its flag.
pub(crate) fn as_typed(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) if items.is_empty() => "none".into(),
        toml::Value::Array(items) => items.iter().map(as_typed).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}
