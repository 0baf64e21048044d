//! A YAML document as a tree whose every complaint knows its key and line.
//!
//! `serde_yaml` reads the text. It tells the line of an error only while it reads, so a complaint about a finished
//! tree is located by reading the text once more, up to the place. All texts are ours: what the operator wrote is
//! repeated only where it can't be a secret.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess,
};

/// Below this key of the root, names of keys and values may be secrets by mistake.
const SECRETS: &str = "keys";
/// A key's name of this length may be its secret, put in the wrong place.
const SUSPICIOUS_LEN: usize = 24;

/// One step from a node to one below it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Where a node is, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(Vec<Step>);

impl Place {
    /// The place of a key's value.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// The place of `path` below the root, e.g. `rtc.udp_port`.
    pub(super) fn of(path: &str) -> Self {
        Self(
            path.split('.')
                .map(|key| Step::Key(key.to_owned()))
                .collect(),
        )
    }

    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// The keys without the indexes.
    pub(super) fn path(&self) -> String {
        let keys = self.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }

    fn below_secrets(&self) -> bool {
        self.0.first() == Some(&Step::Key(SECRETS.to_owned())) && self.0.len() > 1
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    if depth > 0 && self.below_secrets() && key.len() >= SUSPICIOUS_LEN {
                        f.write_str("…")?;
                    } else {
                        f.write_str(key)?;
                    }
                }
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug)]
pub(super) struct Complaint {
    place: Place,
    what: String,
    /// The same key further up, that the complaint is not about.
    skip: usize,
}

impl Complaint {
    pub(super) fn new(place: Place, what: impl Into<String>) -> Self {
        Self {
            place,
            what: what.into(),
            skip: 0,
        }
    }

    /// Which line of `text` it is about, counted from 1.
    pub(super) fn line(&self, text: &str) -> Option<usize> {
        let locate = Locate {
            steps: &self.place.0,
            skip: self.skip,
        };
        let mut error = None;
        // A second document is refused before anybody complains about the first.
        for document in serde_yaml::Deserializer::from_str(text).take(1) {
            error = locate.deserialize(document).err();
        }
        error?.location().map(|location| location.line())
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.0.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)
    }
}

/// Walks to a place and fails there: the error has the line.
#[derive(Clone, Copy)]
struct Locate<'p> {
    steps: &'p [Step],
    skip: usize,
}

const HERE: &str = "here";

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Locate<'_> {
    type Value = ();

    // Whatever has no visit method of its own ends as an error at its place, which is what we are after.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [Step::Key(wanted), rest @ ..] = self.steps else {
            return Err(de::Error::custom(HERE));
        };
        let mut skip = self.skip;
        loop {
            let seed = LocateKey {
                wanted,
                fail: rest.is_empty() && skip == 0,
            };
            match map.next_key_seed(seed)? {
                None => return Err(de::Error::custom(HERE)),
                Some(true) if rest.is_empty() => {
                    skip -= 1;
                    map.next_value::<IgnoredAny>()?;
                }
                Some(true) => {
                    return map.next_value_seed(Self {
                        steps: rest,
                        skip: self.skip,
                    });
                }
                Some(false) => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let [Step::Index(index), rest @ ..] = self.steps else {
            return Err(de::Error::custom(HERE));
        };
        for _ in 0..*index {
            seq.next_element::<IgnoredAny>()?;
        }
        let rest = Self {
            steps: rest,
            skip: self.skip,
        };
        seq.next_element_seed(rest).map(|_| ())
    }
}

/// Reads a key and tells whether it is the wanted one; fails at it if that is the end of the way.
struct LocateKey<'p> {
    wanted: &'p str,
    fail: bool,
}

impl<'de> DeserializeSeed<'de> for LocateKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl de::Visitor<'_> for LocateKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        let found = key == self.wanted;
        if found && self.fail {
            return Err(E::custom(HERE));
        }
        Ok(found)
    }
}

/// A value as the file has it.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    Float,
    Text(String),
    List(Vec<Node>),
    /// In the file's order, keys that come twice included.
    Map(Vec<(String, Node)>),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "true or false",
            Self::Integer(_) | Self::Float => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a group of keys",
        }
    }

    /// Complains about the first key that stands twice in one group.
    pub(super) fn check_duplicates(&self, place: &Place) -> Result<(), Complaint> {
        match self {
            Self::Map(entries) => {
                for (index, (key, node)) in entries.iter().enumerate() {
                    let place = place.key(key);
                    if entries[..index].iter().any(|(earlier, _)| earlier == key) {
                        let mut complaint = Complaint::new(place, "this key stands here twice");
                        complaint.skip = 1;
                        return Err(complaint);
                    }
                    node.check_duplicates(&place)?;
                }
            }
            Self::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    node.check_duplicates(&place.index(index))?;
                }
            }
            Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float | Self::Text(_) => {}
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML without tags")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Boolean(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                // No range reaches that far, so it does not matter how far beyond a number is.
                Ok(Node::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
                Ok(Node::Integer(if value < 0 { i64::MIN } else { i64::MAX }))
            }

            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(Node::Integer(i64::MAX))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Float)
            }

            fn visit_str<E>(self, text: &str) -> Result<Node, E> {
                Ok(Node::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(Node::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                // As text, whatever it looks like: a key called 1234 is no number.
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Says what is wrong with the text as YAML. The library quotes what it met, which may be a secret.
pub(super) fn without_quotes(error: &serde_yaml::Error) -> String {
    let mut out = String::new();
    for (index, part) in error.to_string().split(['"', '`']).enumerate() {
        out.push_str(if index % 2 == 0 { part } else { "…" });
    }
    // The library leaves out the very first place.
    if let Some(location) = error.location()
        && !out.contains(" at line ")
    {
        out.push_str(&format!(" at line {}", location.line()));
    }
    out
}

/// A value and where it is.
#[derive(Clone)]
pub(super) struct Value<'n> {
    node: &'n Node,
    place: Place,
}

impl<'n> Value<'n> {
    pub(super) fn root(node: &'n Node) -> Self {
        Self {
            node,
            place: Place::default(),
        }
    }

    pub(super) fn complain<T>(&self, what: impl Into<String>) -> Result<T, Complaint> {
        Err(Complaint::new(self.place.clone(), what))
    }

    fn expect<T>(&self, expected: &str) -> Result<T, Complaint> {
        let found = self.node.kind();
        self.complain(format!("{expected} is expected here, not {found}"))
    }

    /// Whether it is text.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.node, Node::Text(_))
    }

    /// Whether it is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// Its text.
    pub(super) fn text(&self) -> Result<&'n str, Complaint> {
        match self.node {
            Node::Text(text) => Ok(text),
            Node::Integer(_) | Node::Float | Node::Boolean(_) => {
                self.complain("text is expected here: put the value in quotes")
            }
            Node::Null | Node::List(_) | Node::Map(_) => self.expect("text"),
        }
    }

    /// Text of a form that the type reads. Never for secrets: the complaint repeats it.
    pub(super) fn parse<T: FromStr>(&self, expected: &str) -> Result<T, Complaint> {
        self.read(expected, |text| text.parse().ok())
    }

    /// Text that `read` takes. Never for secrets: the complaint repeats it.
    pub(super) fn read<T>(
        &self,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Complaint> {
        let Node::Text(text) = self.node else {
            return self.expect(expected);
        };
        match read(text) {
            Some(value) => Ok(value),
            None => self.complain(format!("{expected} is expected here, not {text:?}")),
        }
    }

    /// An IP address.
    pub(super) fn ip(&self) -> Result<IpAddr, Complaint> {
        self.parse("an IP address")
    }

    /// A whole number in a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &self,
        range: RangeInclusive<i64>,
    ) -> Result<T, Complaint> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Node::Integer(number) = self.node else {
            return self.expect(&expected);
        };
        let fitting = range.contains(number).then(|| T::try_from(*number).ok());
        match fitting.flatten() {
            Some(value) => Ok(value),
            None => self.complain(format!("{expected} is expected here, not {number}")),
        }
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Result<bool, Complaint> {
        match self.node {
            Node::Boolean(value) => Ok(*value),
            Node::Null
            | Node::Integer(_)
            | Node::Float
            | Node::Text(_)
            | Node::List(_)
            | Node::Map(_) => self.expect("true or false"),
        }
    }

    /// The values of a list.
    pub(super) fn list(&self) -> Result<Vec<Self>, Complaint> {
        let Node::List(nodes) = self.node else {
            return self.expect("a list");
        };
        let values = nodes.iter().enumerate().map(|(index, node)| Self {
            node,
            place: self.place.index(index),
        });
        Ok(values.collect())
    }

    /// A group of keys to read one by one.
    pub(super) fn group(&self) -> Result<Group<'n>, Complaint> {
        let Node::Map(entries) = self.node else {
            return self.expect("a group of keys");
        };
        Ok(Group {
            place: self.place.clone(),
            rest: entries
                .iter()
                .map(|(key, node)| (key.as_str(), node))
                .collect(),
        })
    }
}

/// Keys that were not read yet.
pub(super) struct Group<'n> {
    place: Place,
    rest: Vec<(&'n str, &'n Node)>,
}

impl<'n> Group<'n> {
    /// Reads the value of a key into `slot`, if the file has the key and the key a value.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        slot: &mut T,
        read: impl FnOnce(&Value<'n>) -> Result<T, Complaint>,
    ) -> Result<(), Complaint> {
        if let Some(value) = self.value(key) {
            *slot = read(&value)?;
        }
        Ok(())
    }

    /// The value of a key, unless the file leaves it out or empty.
    pub(super) fn value(&mut self, key: &str) -> Option<Value<'n>> {
        let at = self.rest.iter().position(|(name, _)| *name == key)?;
        let (_, node) = self.rest.remove(at);
        if matches!(node, Node::Null) {
            return None;
        }
        Some(Value {
            node,
            place: self.place.key(key),
        })
    }

    /// Every key that is left, with its value.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'n str, Value<'n>)> {
        let place = self.place;
        self.rest.into_iter().map(move |(key, node)| {
            let value = Value {
                node,
                place: place.key(key),
            };
            (key, value)
        })
    }

    /// Complains about the first key that nobody read. `advice` may know why somebody wrote it.
    pub(super) fn finish(
        self,
        advice: impl FnOnce(&str) -> Option<&'static str>,
    ) -> Result<(), Complaint> {
        let Some((key, _)) = self.rest.first() else {
            return Ok(());
        };
        if self.place.below_secrets() {
            return Err(Complaint::new(
                self.place,
                "there is a key that is unknown here; known are secret, secret_file, authority and scopes",
            ));
        }
        let place = self.place.key(key);
        let what = match advice(&place.path()) {
            Some(advice) => advice.to_owned(),
            None => "there is no such key".to_owned(),
        };
        Err(Complaint::new(place, what))
    }
}
