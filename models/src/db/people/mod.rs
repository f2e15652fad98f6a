//! SQL of people who do work: members, technicians, shifts, qualifications, what work asks for.

mod able;
mod qualification;
mod requirement;
mod roster;

pub use able::{problems, proposals};
pub use qualification::{NewQualification, QualificationRow, put_qualification, qualifications};
pub use requirement::{
    Asked, NewRequirement, RequirementRow, add_requirement, asked, remove_requirement, requirements,
};
pub use roster::{
    MemberRow, ShiftRow, TechnicianEdit, TechnicianRow, add_shift, members, put_technician, remove_shift,
    shifts, technicians,
};
