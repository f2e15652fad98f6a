//! Rotating machines: zones of vibration severity; bearings are in [`models::vibration`].

pub use models::vibration::{BearingGeometry, FaultFrequencies};
use serde::{Deserialize, Serialize};

/// Machine class of ISO 10816-1:1995.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineClass {
    /// Small machines, to 15 kW.
    I,
    /// 15 to 75 kW.
    Ii,
    /// Large, on a rigid foundation.
    Iii,
    /// Large, on a flexible foundation.
    Iv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Zone {
    A,
    B,
    C,
    D,
}

impl MachineClass {
    /// Limits A/B, B/C and C/D of the vibration velocity, mm/s rms from 10 to 1000 Hz (Annex B).
    pub fn limits(self) -> [f64; 3] {
        match self {
            MachineClass::I => [0.71, 1.8, 4.5],
            MachineClass::Ii => [1.12, 2.8, 7.1],
            MachineClass::Iii => [1.8, 4.5, 11.2],
            MachineClass::Iv => [2.8, 7.1, 18.0],
        }
    }

    pub fn zone(self, velocity: f64) -> Zone {
        let [ab, bc, cd] = self.limits();
        match velocity {
            v if v <= ab => Zone::A,
            v if v <= bc => Zone::B,
            v if v <= cd => Zone::C,
            _ => Zone::D,
        }
    }
}
