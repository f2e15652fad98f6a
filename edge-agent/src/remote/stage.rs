//! Which remote configuration is in force, pure.
//!
//! | state | event | then |
//! |---|---|---|
//! | any | offer, refused by the checks | as before, `refused` is reported |
//! | active | offer | on trial, once |
//! | on trial | the link came back | active, `active` is reported |
//! | on trial | the link didn't come back in time, a source could not be opened, a task failed | as before the trial, `rolled_back` |
//! | on trial | the agent was started anew: it had crashed, or was killed | the same |

use models::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What came from Forewarn: sections of `forewarn-edge.toml` that go over those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    pub version: String,
    /// TOML.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Being tried.
    Trial,
    Active,
    RolledBack,
    Refused,
}

/// How the last offer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub version: String,
    pub state: Verdict,
    pub reason: Option<String>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    overlay: Overlay,
    begun: bool,
}

/// See the module. Kept in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    active: Option<Overlay>,
    trial: Option<Trial>,
    last: Option<Outcome>,
}

impl Stage {
    /// A configuration that passed the checks. Returns whether there is something to try: an offer that
    /// is in force already is only confirmed.
    pub fn offer(&mut self, overlay: Overlay, now: Timestamp) -> bool {
        if self.trial.as_ref().is_some_and(|trial| trial.overlay == overlay) {
            return false;
        }
        if self.trial.is_none() && self.active.as_ref() == Some(&overlay) {
            self.note(overlay.version, Verdict::Active, None, now);
            return false;
        }
        self.note(overlay.version.clone(), Verdict::Trial, None, now);
        self.trial = Some(Trial {
            overlay,
            begun: false,
        });
        true
    }

    pub fn refuse(&mut self, version: String, reason: String, now: Timestamp) {
        self.note(version, Verdict::Refused, Some(reason), now);
    }

    /// What to run with now. A trial begins here, once.
    pub fn begin(&mut self, now: Timestamp) -> Option<Overlay> {
        if self.trial.as_ref().is_some_and(|trial| trial.begun) {
            self.roll_back("the agent ended while it was tried", now);
        }
        match &mut self.trial {
            Some(trial) => {
                trial.begun = true;
                Some(trial.overlay.clone())
            }
            None => self.active.clone(),
        }
    }

    pub fn is_on_trial(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.begun)
    }

    /// The receiver has taken something we published. Returns whether that ended a trial.
    pub fn link_is_back(&mut self, now: Timestamp) -> bool {
        match self.trial.take_if(|trial| trial.begun) {
            Some(Trial { overlay, .. }) => {
                self.note(overlay.version.clone(), Verdict::Active, None, now);
                self.active = Some(overlay);
                true
            }
            None => false,
        }
    }

    /// Gives the trial up. Returns whether there was one.
    pub fn roll_back(&mut self, reason: &str, now: Timestamp) -> bool {
        match self.trial.take_if(|trial| trial.begun) {
            Some(Trial { overlay, .. }) => {
                self.note(overlay.version, Verdict::RolledBack, Some(reason.to_owned()), now);
                true
            }
            None => false,
        }
    }

    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Version in force, trial aside.
    pub fn active(&self) -> Option<&str> {
        self.active.as_ref().map(|overlay| overlay.version.as_str())
    }

    fn note(&mut self, version: String, state: Verdict, reason: Option<String>, at: Timestamp) {
        self.last = Some(Outcome {
            version,
            state,
            reason,
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(version: &str) -> Overlay {
        Overlay {
            version: version.to_owned(),
            text: format!("# {version}"),
        }
    }

    const NOW: Timestamp = Timestamp::from_secs(1);

    fn verdict(stage: &Stage) -> (&str, Verdict) {
        let last = stage.last().unwrap();
        (&last.version, last.state)
    }

    #[test]
    fn a_trial_ends_well() {
        let mut stage = Stage::default();
        assert_eq!(stage.begin(NOW), None);
        assert!(!stage.link_is_back(NOW), "no trial, nothing to end");
        assert!(stage.offer(overlay("1"), NOW));
        assert!(
            !stage.link_is_back(NOW),
            "the old configuration's link says nothing about the new one"
        );
        assert_eq!(stage.begin(NOW), Some(overlay("1")));
        assert!(stage.link_is_back(NOW));
        assert_eq!(verdict(&stage), ("1", Verdict::Active));
        assert_eq!(stage.begin(NOW), Some(overlay("1")));
        assert!(!stage.offer(overlay("1"), NOW), "in force already");
    }

    #[test]
    fn a_trial_that_fails_or_crashes_leaves_what_was() {
        let mut stage = Stage::default();
        stage.offer(overlay("1"), NOW);
        stage.begin(NOW);
        stage.link_is_back(NOW);
        stage.offer(overlay("2"), NOW);
        stage.begin(NOW);
        assert!(stage.roll_back("no link", NOW));
        assert_eq!(verdict(&stage), ("2", Verdict::RolledBack));
        assert_eq!(stage.begin(NOW), Some(overlay("1")));

        stage.offer(overlay("3"), NOW);
        stage.begin(NOW);
        // What a crash leaves on the disk:
        let mut stage: Stage = serde_json::from_str(&serde_json::to_string(&stage).unwrap()).unwrap();
        assert_eq!(stage.begin(NOW), Some(overlay("1")));
        assert_eq!(verdict(&stage), ("3", Verdict::RolledBack));
        stage.refuse("4".to_owned(), "not TOML".to_owned(), NOW);
        assert_eq!(verdict(&stage), ("4", Verdict::Refused));
        assert_eq!(stage.active(), Some("1"));
    }
}
