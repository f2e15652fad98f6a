use serde::{Deserialize, Serialize};

use super::error::{Result, positive};

/// Geometry of a rolling bearing; both diameters in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BearingGeometry {
    pub rolling_elements: u32,
    pub element_diameter: f64,
    pub pitch_diameter: f64,
    /// Degrees.
    pub contact_angle: f64,
}

/// Fault frequencies, in the unit of the shaft speed (1 gives multiples of it).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FaultFrequencies {
    /// Cage.
    pub ftf: f64,
    /// Outer race.
    pub bpfo: f64,
    /// Inner race.
    pub bpfi: f64,
    /// Spin of a rolling element; a defect strikes both races, at twice this.
    pub bsf: f64,
}

impl BearingGeometry {
    /// # Errors
    /// Dimensions that are not above zero.
    pub fn fault_frequencies(&self, shaft: f64) -> Result<FaultFrequencies> {
        positive("the element diameter", self.element_diameter)?;
        positive("the pitch diameter", self.pitch_diameter)?;
        let n = f64::from(self.rolling_elements);
        let r = self.element_diameter / self.pitch_diameter * self.contact_angle.to_radians().cos();
        Ok(FaultFrequencies {
            ftf: shaft / 2.0 * (1.0 - r),
            bpfo: shaft * n / 2.0 * (1.0 - r),
            bpfi: shaft * n / 2.0 * (1.0 + r),
            bsf: shaft * self.pitch_diameter / (2.0 * self.element_diameter) * (1.0 - r * r),
        })
    }
}

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
