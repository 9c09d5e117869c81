//! One declaration per stored struct: the fields, their order and their bytes cannot drift apart.
//!
//! `wire_struct!` and `wire_enum!` define the type, its encoder, its decoder and the table that
//! FORMAT.md shows. No serde: the bytes are what the field list says, in the order it says.
//!
//! INVARIANT: `get(put(x)) == x`, and no input makes `get` panic or allocate beyond its length.

use super::codec::{DecodeError, Reader, put_bytes, put_signed, put_varint};
use crate::types::{
    CategoryId, Epoch, HoldId, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId,
};

/// A value with a fixed byte form.
pub trait Wire: Sized {
    /// The byte form in words, for FORMAT.md.
    const SHAPE: &'static str;

    /// Appends the bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads the bytes; `field` names the place in an error.
    ///
    /// # Errors
    /// If the bytes are not of this form.
    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError>;
}

/// A struct's fields in stored order, for FORMAT.md.
pub trait Fields {
    /// (field, byte form).
    const FIELDS: &'static [(&'static str, &'static str)];
}

macro_rules! wire_number {
    ($($name:ident),*) => {$(
        impl Wire for $name {
            const SHAPE: &'static str = "varint";

            fn put(&self, out: &mut Vec<u8>) {
                put_varint(out, self.0);
            }

            fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
                reader.varint(field).map(Self)
            }
        }
    )*};
}

wire_number!(Lsn, Seq, Rev, RoomId, CategoryId, PrincipalId, TokenId, HoldId);

impl Wire for u64 {
    const SHAPE: &'static str = "varint";

    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, *self);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.varint(field)
    }
}

impl Wire for i64 {
    const SHAPE: &'static str = "zigzag varint";

    fn put(&self, out: &mut Vec<u8>) {
        put_signed(out, *self);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.signed(field)
    }
}

impl Wire for u8 {
    const SHAPE: &'static str = "u8";

    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.u8(field)
    }
}

impl Wire for u32 {
    const SHAPE: &'static str = "varint, at most 2^32-1";

    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(*self));
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let wrong = reader.error(field);
        Self::try_from(reader.varint(field)?).map_err(|_| wrong)
    }
}

impl Wire for Epoch {
    const SHAPE: &'static str = "varint, at most 65535";

    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.0));
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let wrong = reader.error(field);
        u16::try_from(reader.varint(field)?).map(Self).map_err(|_| wrong)
    }
}

impl Wire for TimeUs {
    const SHAPE: &'static str = "zigzag varint, microseconds since 1970 UTC";

    fn put(&self, out: &mut Vec<u8>) {
        put_signed(out, self.0);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.signed(field).map(Self)
    }
}

impl Wire for bool {
    const SHAPE: &'static str = "u8, 0 or 1";

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.flag(field)
    }
}

impl Wire for String {
    const SHAPE: &'static str = "varint length, UTF-8";

    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.text(reader.remaining(), field).map(Self::from)
    }
}

impl<const N: usize> Wire for [u8; N] {
    const SHAPE: &'static str = "fixed bytes";

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.array(field)
    }
}

impl<T: Wire> Wire for Option<T> {
    const SHAPE: &'static str = "u8 0, or u8 1 and the value";

    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        if reader.flag(field)? { T::get(reader, field).map(Some) } else { Ok(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const SHAPE: &'static str = "varint count, the items";

    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        for item in self {
            item.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        // An item takes at least one byte, so the input's length bounds the count.
        let count = reader.count(reader.remaining(), field)?;
        let mut items = Self::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(T::get(reader, field)?);
        }
        Ok(items)
    }
}

/// Encodes a value alone.
pub fn to_bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// If the bytes are not of the form, or if some are left.
pub fn from_bytes<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = T::get(&mut reader, what)?;
    reader.end(what)?;
    Ok(value)
}

/// Defines a struct together with its byte form.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$fmeta:meta])* pub $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $type ),*
        }

        impl $crate::format::wire::Wire for $name {
            const SHAPE: &'static str = stringify!($name);

            fn put(&self, out: &mut Vec<u8>) {
                $( $crate::format::wire::Wire::put(&self.$field, out); )*
                let _ = out;
            }

            fn get(
                reader: &mut $crate::format::codec::Reader<'_>,
                _: &'static str,
            ) -> ::std::result::Result<Self, $crate::format::codec::DecodeError> {
                $( let $field = <$type as $crate::format::wire::Wire>::get(
                    reader,
                    concat!(stringify!($name), ".", stringify!($field)),
                )?; )*
                let _ = reader;
                Ok(Self { $( $field ),* })
            }
        }

        impl $crate::format::wire::Fields for $name {
            const FIELDS: &'static [(&'static str, &'static str)] = &[
                $( (stringify!($field), <$type as $crate::format::wire::Wire>::SHAPE) ),*
            ];
        }
    };
}

/// Defines a field-less enum stored as one byte.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$vmeta])* $variant ),*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The stored byte.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $( Self::$variant => $code ),* }
            }

            /// The value of a stored byte.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )* _ => None }
            }

            /// The word used outside.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),* }
            }

            /// The value of a word.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$variant), )* _ => None }
            }
        }

        impl $crate::format::wire::Wire for $name {
            const SHAPE: &'static str = concat!("u8 ", stringify!($name));

            fn put(&self, out: &mut Vec<u8>) {
                out.push(self.code());
            }

            fn get(
                reader: &mut $crate::format::codec::Reader<'_>,
                field: &'static str,
            ) -> ::std::result::Result<Self, $crate::format::codec::DecodeError> {
                let wrong = reader.error(field);
                Self::from_code(reader.u8(field)?).ok_or(wrong)
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};
