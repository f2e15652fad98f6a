//! SQL of tickets. Every change writes the ticket's own history and the outbox in the same
//! transaction.

mod attachment;
mod change;
mod create;
mod facts;
mod read;
mod relation;
mod step;
mod task;

pub use attachment::{AttachmentRow, NewAttachment, attach, attachment, attachments, content_known};
pub use change::{Coding, Edit, EditError, comment, edit, transition};
pub(crate) use create::add_event;
pub use create::{Created, NewTicket, add_evidence, create, raise_priority};
pub use facts::gather_facts;
pub use read::{Filter, TaskRow, TicketEvent, TicketView, class_name, events, get, list, tasks};
pub use relation::{
    NewRelation, RelateError, RelationKind, RelationRow, Split, relate, relations, split, unrelate,
};
pub use step::{NewStep, StepError, StepRow, TicketStep, do_step, put_step, remove_step, steps, steps_of};
pub use task::{TaskEdit, TaskRefusal, TaskResult, add_task, complete_task, edit_task};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_offer;
