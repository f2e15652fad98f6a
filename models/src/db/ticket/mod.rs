//! SQL of tickets. Every change writes the ticket's own history and the outbox in the same
//! transaction.

mod change;
mod create;
mod read;

pub use change::{
    Coding, Edit, TaskResult, add_task, comment, complete_task, edit, gather_facts, transition,
};
pub use create::{Created, NewTicket, add_evidence, create, raise_priority};
pub use read::{Filter, TaskRow, TicketEvent, TicketView, events, get, list, tasks};

#[cfg(test)]
mod tests;
