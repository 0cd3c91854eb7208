//! JSON in which no object says a key twice: which of the two counts would depend on the reader. And what reading it can
//! take.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::memory;

/// What reading a JSON text can take: a text of two bytes per value becomes many times as long. Counts what is written to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    objects: u64,
    entries: u64,
    elements: u64,
    bytes: u64,
}

impl Demand {
    /// That of `text`.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut demand = Self::default();
        demand.count(text);
        demand
    }

    fn count(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                b'{' => self.objects += 1,
                b':' => self.entries += 1,
                b',' | b'[' => self.elements += 1,
                _ => {}
            }
        }
        self.bytes += text.len() as u64;
    }

    /// Most bytes of its values: a node of a map for each object, a key that is noted twice for each entry, and lists that
    /// are copied while they grow.
    pub(crate) fn value_bytes(&self) -> u64 {
        700 * self.objects + 320 * self.entries + 160 * self.elements + 3 * self.bytes
    }

    /// Objects in it.
    pub(crate) fn objects(&self) -> u64 {
        self.objects
    }

    /// Bytes of the text.
    #[cfg(feature = "cli")]
    pub(crate) fn text_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is room for the values.
    ///
    /// # Errors
    /// [`crate::Error::TooLarge`], which says `what` they are.
    pub(crate) fn ask(&self, what: &str) -> crate::Result<()> {
        memory::ask(what, &[self.value_bytes()])
    }
}

impl Write for Demand {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.count(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A JSON object in the order of the file; a key that it says twice is refused, since readers differ in which one counts.
pub(crate) struct InOrder<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<T>, A::Error> {
                let mut entries = Vec::new();
                let mut known = HashSet::new();
                while let Some((key, value)) = map.next_entry::<String, T>()? {
                    if !known.insert(key.clone()) {
                        return Err(A::Error::custom(format!("the key {key:?} twice")));
                    }
                    entries.push((key, value));
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// A value whose objects have each key once; others are refused with the key.
pub(crate) struct EachOnce(pub(crate) Value);

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(EachOnce(value)) = all.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, all: A) -> Result<Value, A::Error> {
        let InOrder(entries) = InOrder::deserialize(MapAccessDeserializer::new(all))?;
        Ok(Value::Object(entries.into_iter().map(|(key, EachOnce(value))| (key, value)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json_and_keys_come_once() {
        let text = r#"{"a": [1, -2, 0.5, 1e300, "x\n", null, true, {"a": {}}], "b": 18446744073709551615}"#;
        let EachOnce(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "c": 2, "\u0061": 3}}]"#] {
            let error = serde_json::from_str::<EachOnce>(text).err().unwrap().to_string();
            assert!(error.starts_with(r#"the key "a" twice at line 1"#), "{error}");
        }
    }
}
