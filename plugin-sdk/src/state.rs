//! Accumulators and states as bytes: compact, fixed layouts, no field names.
//!
//! Integers and floats are 8 bytes little-endian (`i32`, `u32`: 4), `bool` 1, an `Option` 1 and, where it is
//! some, the value; strings and lists have a `u32` length before them. A struct is its fields in order,
//! an enum the number of its variant (1 byte) and the variant's fields. The layout is what checkpoints hold:
//! whoever changes a struct raises its `version` and says how old ones are read (`migrate`).

use std::collections::{BTreeMap, BTreeSet};

/// Something that the host keeps between two calls. `#[derive(State)]` implements it.
pub trait State: Sized {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes it from the front; none if the bytes are no such thing.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

/// Reads a state that takes all of `bytes`.
pub fn from_bytes<S: State>(mut bytes: &[u8]) -> Option<S> {
    let state = S::read(&mut bytes)?;
    bytes.is_empty().then_some(state)
}

/// Writes a state.
pub fn to_bytes<S: State>(state: &S) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes);
    bytes
}

macro_rules! number {
    ($($type:ty),*) => { $(
        impl State for $type {
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (head, tail) = bytes.split_first_chunk()?;
                *bytes = tail;
                Some(<$type>::from_le_bytes(*head))
            }
        }
    )* };
}

number!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, f32, f64);

impl State for () {
    fn write(&self, _: &mut Vec<u8>) {}
    fn read(_: &mut &[u8]) -> Option<()> {
        Some(())
    }
}

impl State for bool {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    #[inline]
    fn read(bytes: &mut &[u8]) -> Option<bool> {
        match u8::read(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: State> State for Option<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }
    #[inline]
    fn read(bytes: &mut &[u8]) -> Option<Option<T>> {
        Some(if bool::read(bytes)? {
            Some(T::read(bytes)?)
        } else {
            None
        })
    }
}

fn write_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len)
        .expect("a state is bounded far below 4 GiB")
        .write(out);
}

/// Takes the length of something whose items have at least one byte: a damaged one allocates nothing.
fn read_len(bytes: &mut &[u8]) -> Option<usize> {
    let len = u32::read(bytes)? as usize;
    (len <= bytes.len()).then_some(len)
}

impl State for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<String> {
        let len = read_len(bytes)?;
        let (text, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        Some(std::str::from_utf8(text).ok()?.into())
    }
}

impl<T: State> State for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.len(), out);
        for item in self {
            item.write(out);
        }
    }
    fn read(bytes: &mut &[u8]) -> Option<Vec<T>> {
        (0..read_len(bytes)?).map(|_| T::read(bytes)).collect()
    }
}

impl<T: State + Ord> State for BTreeSet<T> {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.len(), out);
        for item in self {
            item.write(out);
        }
    }
    fn read(bytes: &mut &[u8]) -> Option<BTreeSet<T>> {
        (0..read_len(bytes)?).map(|_| T::read(bytes)).collect()
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    fn write(&self, out: &mut Vec<u8>) {
        write_len(self.len(), out);
        for (key, value) in self {
            key.write(out);
            value.write(out);
        }
    }
    fn read(bytes: &mut &[u8]) -> Option<BTreeMap<K, V>> {
        (0..read_len(bytes)?)
            .map(|_| Some((K::read(bytes)?, V::read(bytes)?)))
            .collect()
    }
}

macro_rules! tuple {
    ($($name:ident $at:tt),+) => {
        impl<$($name: State),+> State for ($($name,)+) {
            #[inline]
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$at.write(out);)+
            }
            #[inline]
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($name::read(bytes)?,)+))
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
