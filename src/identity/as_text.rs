//! Values that go by their text, for serde: read without a copy of it, and written without one.
//!
//! Must not know: what the text means.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a value from the text that stands there.
///
/// Errors: it is no text, or what `parse` says of it.
pub(super) fn read<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Reader(parse, PhantomData))
}

struct Reader<T, E>(fn(&str) -> Result<T, E>, PhantomData<T>);

impl<T, E: fmt::Display> Visitor<'_> for Reader<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
        (self.0)(text).map_err(F::custom)
    }
}

/// Reads a type by its `parse`, and writes it as it is displayed; `whole`: by its `as_str`, which is that.
macro_rules! as_text {
    (whole $name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        $crate::identity::as_text::as_text!(read $name);
    };
    (read $name:ident) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::identity::as_text::read(deserializer, Self::parse)
            }
        }
    };
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        $crate::identity::as_text::as_text!(read $name);
    };
}

pub(super) use as_text;
