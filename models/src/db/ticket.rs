//! SQL of ticket.
