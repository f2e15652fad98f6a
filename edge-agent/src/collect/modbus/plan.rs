//! Which registers to read together. Pure.
//!
//! A request costs a round trip, and on a serial line behind a gateway some ten milliseconds, so points
//! near each other are read in one. Points in a block that the device refuses are read one by one from
//! then on: some devices refuse a block because of one register inside it.

use super::value::{Coding, Table};

/// Registers that one request may read, by the Modbus specification; bits: 2,000.
pub const MAX_REGISTERS: u16 = 125;
pub const MAX_BITS: u16 = 2_000;

/// A point's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub table: Table,
    /// From 0, as on the wire.
    pub register: u16,
    pub coding: Coding,
}

impl Place {
    fn len(&self) -> u16 {
        if self.table.is_bits() {
            1
        } else {
            self.coding.kind.registers()
        }
    }
}

/// One request: `len` registers or bits, and which points lie in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub table: Table,
    pub register: u16,
    pub len: u16,
    pub points: Vec<usize>,
}

/// Points in as few requests as they need. `most` registers in each, `gap` registers in between that
/// nobody wants may be read along.
pub fn blocks(places: &[Place], most: u16, gap: u16) -> Vec<Block> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|i| (places[*i].table as u8, places[*i].register));
    let mut blocks: Vec<Block> = Vec::new();
    for i in order {
        let place = &places[i];
        let end = u32::from(place.register) + u32::from(place.len());
        if let Some(block) = blocks.last_mut()
            && block.table == place.table
        {
            let most = if place.table.is_bits() { MAX_BITS } else { most };
            let reached = u32::from(block.register) + u32::from(block.len);
            let len = end.max(reached) - u32::from(block.register);
            if u32::from(place.register) <= reached + u32::from(gap) && len <= u32::from(most) {
                block.len = len as u16;
                block.points.push(i);
                continue;
            }
        }
        blocks.push(single(places, i));
    }
    blocks
}

/// A request for one point.
pub fn single(places: &[Place], point: usize) -> Block {
    let place = &places[point];
    Block {
        table: place.table,
        register: place.register,
        len: place.len(),
        points: vec![point],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::value::Type;
    use super::*;

    fn place(table: Table, register: u16, kind: Type) -> Place {
        Place {
            table,
            register,
            coding: Coding {
                kind,
                ..Coding::default()
            },
        }
    }

    #[test]
    fn neighbours_are_read_together() {
        let places = [
            place(Table::Holding, 10, Type::F32),
            place(Table::Holding, 0, Type::U16),
            place(Table::Input, 1, Type::U16),
            place(Table::Holding, 12, Type::U16),
            place(Table::Holding, 40, Type::F64),
        ];
        let read: Vec<_> = blocks(&places, 20, 8)
            .iter()
            .map(|block| (block.table, block.register, block.len, block.points.clone()))
            .collect();
        assert_eq!(
            read,
            [
                (Table::Holding, 0, 1, vec![1]),
                (Table::Holding, 10, 3, vec![0, 3]),
                (Table::Holding, 40, 4, vec![4]),
                (Table::Input, 1, 1, vec![2]),
            ]
        );
    }

    proptest! {
        #[test]
        fn every_point_is_read_once_and_whole(
            registers in prop::collection::vec((0_u16..300, 0_usize..3), 1..60),
            most in 4_u16..=125,
            gap in 0_u16..20,
        ) {
            let places: Vec<Place> = registers
                .iter()
                .map(|(register, kind)| place(Table::Holding, *register, [Type::U16, Type::F32, Type::F64][*kind]))
                .collect();
            let blocks = blocks(&places, most, gap);
            let mut seen: Vec<usize> = blocks.iter().flat_map(|block| block.points.clone()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..places.len()).collect::<Vec<_>>());
            for block in &blocks {
                prop_assert!(block.len <= most);
                for point in &block.points {
                    let place = &places[*point];
                    prop_assert!(place.register >= block.register);
                    prop_assert!(place.register + place.len() <= block.register + block.len);
                }
            }
        }
    }
}
