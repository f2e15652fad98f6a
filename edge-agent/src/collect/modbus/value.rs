//! Registers as numbers. Pure.
//!
//! The Modbus specification fixes bytes inside a register (big-endian) and nothing about numbers of
//! several registers; vendors do what they like. `word_order` says which register comes first, and
//! `byte_order = "little"` swaps the bytes of each.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Holding registers, 4xxxx, function 3.
    #[default]
    Holding,
    /// Input registers, 3xxxx, function 4.
    Input,
    /// Coils, 0xxxx, function 1.
    Coil,
    /// Discrete inputs, 1xxxx, function 2.
    Discrete,
}

impl Table {
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Holding => "holding register",
            Self::Input => "input register",
            Self::Coil => "coil",
            Self::Discrete => "discrete input",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A coil, a discrete input, or one `bit` of a register.
    Bool,
    #[default]
    U16,
    I16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Type {
    pub fn registers(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The most significant first.
    #[default]
    Big,
    Little,
}

/// How a value lies in its registers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coding {
    pub kind: Type,
    pub words: Order,
    pub bytes: Order,
    pub bit: u8,
}

impl Coding {
    /// `None` when there are not enough registers. 64-bit integers beyond 2^53 are rounded, as every
    /// value becomes an f64.
    pub fn decode(self, registers: &[u16]) -> Option<f64> {
        let n = usize::from(self.kind.registers());
        let registers = registers.get(..n)?;
        let mut bytes = [0; 8];
        for (i, register) in registers.iter().enumerate() {
            let at = match self.words {
                Order::Big => i,
                Order::Little => n - 1 - i,
            };
            let pair = match self.bytes {
                Order::Big => register.to_be_bytes(),
                Order::Little => register.to_le_bytes(),
            };
            bytes[2 * at..2 * at + 2].copy_from_slice(&pair);
        }
        let two = u16::from_be_bytes([bytes[0], bytes[1]]);
        let four = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let eight = u64::from_be_bytes(bytes);
        Some(match self.kind {
            Type::Bool => f64::from((two >> (self.bit & 15)) & 1),
            Type::U16 => f64::from(two),
            Type::I16 => f64::from(two as i16),
            Type::U32 => f64::from(four),
            Type::I32 => f64::from(four as i32),
            Type::F32 => f64::from(f32::from_bits(four)),
            Type::U64 => eight as f64,
            Type::I64 => eight as i64 as f64,
            Type::F64 => f64::from_bits(eight),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_in_every_order() {
        let decode = |kind, words, bytes, registers: &[u16]| {
            Coding {
                kind,
                words,
                bytes,
                bit: 0,
            }
            .decode(registers)
        };
        let [hi, lo] = [0x4148_u16, 0x0000];
        for (words, bytes, registers) in [
            (Order::Big, Order::Big, [hi, lo]),
            (Order::Little, Order::Big, [lo, hi]),
            (Order::Big, Order::Little, [hi.swap_bytes(), lo]),
            (Order::Little, Order::Little, [lo, hi.swap_bytes()]),
        ] {
            assert_eq!(decode(Type::F32, words, bytes, &registers), Some(12.5));
        }
        let big = |kind, registers: &[u16]| decode(kind, Order::Big, Order::Big, registers);
        assert_eq!(big(Type::U16, &[65_535]), Some(65_535.0));
        assert_eq!(big(Type::I16, &[65_535]), Some(-1.0));
        assert_eq!(big(Type::U32, &[1, 2]), Some(65_538.0));
        assert_eq!(big(Type::I32, &[0xffff, 0xfffe]), Some(-2.0));
        assert_eq!(big(Type::U64, &[0, 1, 0, 0]), Some(4_294_967_296.0));
        assert_eq!(big(Type::I64, &[0xffff, 0xffff, 0xffff, 0xffff]), Some(-1.0));
        assert_eq!(big(Type::F64, &[0x3ff0, 0, 0, 0]), Some(1.0));
        assert_eq!(big(Type::F64, &[0x3ff0, 0, 0]), None);
        let bit = |bit| {
            Coding {
                kind: Type::Bool,
                bit,
                ..Coding::default()
            }
            .decode(&[0b100])
        };
        assert_eq!((bit(2), bit(1)), (Some(1.0), Some(0.0)));
    }
}
