//! Lists whose elements are judged one by one: a bad one shields none of the others.
//!
//! Must not know: what the elements mean.

use serde::de::DeserializeOwned;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::Fault;
use super::fields::fields;

/// A list as it came.
#[derive(Clone, Debug)]
pub struct Each<T>(Vec<Result<T, Bad>>);

/// An element that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    element: Value,
    /// The problem with it.
    pub problem: String,
}

impl Bad {
    /// The content of `element`; or `element` itself, if it is not what it must be.
    pub(super) fn or<T: DeserializeOwned>(element: &RawValue) -> Result<T, Self> {
        fields(element.get()).map_err(|fault| Self {
            // An element that is nested too deeply has no field that anybody reads.
            element: serde_json::from_str(element.get()).unwrap_or_default(),
            problem: match fault {
                Fault::WrongParams { problem } => problem,
                fault => fault.to_string(),
            },
        })
    }

    /// The text of one of its fields, if there is one.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.element.get(field).and_then(Value::as_str)
    }
}

impl<T> From<Vec<T>> for Each<T> {
    fn from(all: Vec<T>) -> Self {
        Self(all.into_iter().map(Ok).collect())
    }
}

impl<T> Default for Each<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Each<T> {
    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = &Result<T, Bad>> {
        self.0.iter()
    }

    /// The good ones.
    pub fn good(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|one| one.as_ref().ok())
    }

    /// The bad ones.
    pub fn bad(&self) -> impl Iterator<Item = &Bad> {
        self.0.iter().filter_map(|one| one.as_ref().err())
    }
}

impl<T> IntoIterator for Each<T> {
    type Item = Result<T, Bad>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements = Vec::<Box<RawValue>>::deserialize(deserializer)?;
        Ok(elements.iter().map(|one| Bad::or(one)).collect())
    }
}

impl<T> FromIterator<Result<T, Bad>> for Each<T> {
    fn from_iter<I: IntoIterator<Item = Result<T, Bad>>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for Each<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for one in &self.0 {
            match one {
                Ok(read) => list.serialize_element(read)?,
                // An asker has none of these.
                Err(bad) => return Err(serde::ser::Error::custom(&bad.problem)),
            }
        }
        list.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::BareJid;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    struct Named {
        account: BareJid,
    }

    #[test]
    fn a_bad_element_says_what_is_wrong_and_leaves_the_others_alone() {
        let list = json!([{"account": "a@b.c"}, {"account": "@"}, 7, {"account": "d@e.f"}]);
        let list: Each<Named> = fields(&list.to_string()).unwrap();
        let good: Vec<String> = list.good().map(|one| one.account.to_string()).collect();
        assert_eq!(good, ["a@b.c", "d@e.f"]);
        let bad: Vec<&Bad> = list.bad().collect();
        assert_eq!(bad.len(), 2);
        assert_eq!(bad.first().unwrap().text("account"), Some("@"));
        assert!(bad.first().unwrap().problem.starts_with("account: "));
        assert_eq!(bad.last().unwrap().text("account"), None);
        // A value that is no list is refused as a whole.
        assert!(fields::<Each<Named>>(r#"{"account": "a@b.c"}"#).is_err());
    }
}
