//! What a node does: `process.roles`.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use super::{ConfigError, PeerList};

/// The roles of a node; it has one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Roles {
    /// It keeps partitions and serves clients.
    pub broker: bool,
    /// It votes in the metadata quorum, or may.
    pub controller: bool,
}

impl Roles {
    /// Both, which is the default.
    pub const BOTH: Self = Self { broker: true, controller: true };

    /// Can a node with these roles be one of `peers`, or join those in `join`?
    pub(super) fn fit(self, peers: &PeerList, join: &PeerList) -> Result<(), ConfigError> {
        let wrong = |message: &str, hint: &str| Err(ConfigError { message: message.to_owned(), hint: hint.to_owned() });
        if !self.controller && join.is_empty() {
            return wrong("a broker that is no controller needs some", "name them with --join instead of --peers");
        }
        if !self.broker && peers.is_empty() && join.is_empty() {
            return wrong("a controller alone serves nobody", "add the broker's role, or --peers");
        }
        Ok(())
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = Self { broker: false, controller: false };
        for role in text.split(',') {
            match role.trim() {
                "broker" => roles.broker = true,
                "controller" => roles.controller = true,
                other => return Err(format!("\"{other}\" is no role; there are broker and controller")),
            }
        }
        Ok(roles)
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.broker, self.controller) {
            (true, true) => "broker,controller",
            (true, false) => "broker",
            (false, _) => "controller",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_kafkas() {
        for text in ["broker", "controller", "broker,controller"] {
            assert_eq!(text.parse::<Roles>().map(|roles| roles.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("controller, broker".parse(), Ok(Roles::BOTH));
        assert!("voter".parse::<Roles>().is_err() && "".parse::<Roles>().is_err());
        let none = PeerList::default();
        assert!(Roles::BOTH.fit(&none, &none).is_ok());
        for alone in ["broker", "controller"] {
            assert!(alone.parse::<Roles>().expect("just seen").fit(&none, &none).is_err());
        }
    }
}
