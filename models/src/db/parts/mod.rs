//! SQL of parts: the bill of materials, the read model of the stock, reservations, postings, shortages.
//!
//! available = the owner's count − what was posted since that count − active reservations of others.

mod bom;
mod posting;
mod reservation;
mod stock;

pub use bom::{BomError, BomLine, BomRow, bom, put_bom};
pub use posting::{PostError, PostingRow, post, reverse};
pub use reservation::{
    ReservationRow, gate, of_ticket, plan_ahead, posted_gate, release, reserve, reserve_for_ticket,
};
pub use stock::{PartRow, StockLine, parts, put_stock};
