//! SQL of alarms: their rules, their evaluation inside a writer's transaction, and what people do.

mod design;
mod evaluate;
mod people;
mod rules;
mod waiting;

pub use design::{Suppressed, suppress_by_plant};
pub use evaluate::{AlarmRow, Evaluated, Watch, evaluate, latest_machines, open_alarms_for_rules};
pub use people::{
    AlarmEvent, AlarmView, Filter, State, acknowledge, events, get, list, reset, shelve, unshelve,
};
pub use rules::{
    NewRule, RuleRow, WAKE, create_rule, delete_rule, get_rule, limit_rules, list_rules, rule_to_try,
    rules_for_asset, rules_for_assets, rules_stamp, update_rule,
};
pub use waiting::{Escalated, escalate};

#[cfg(test)]
mod tests;
