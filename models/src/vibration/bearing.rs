use serde::{Deserialize, Serialize};

/// Geometry of a rolling bearing; both diameters in the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearingGeometry {
    /// In one row.
    pub rolling_elements: u32,
    pub element_diameter: f64,
    pub pitch_diameter: f64,
    /// Degrees.
    #[serde(default)]
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

/// A bearing that can't be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} must be above 0, got {value}")]
pub struct BearingError {
    pub what: &'static str,
    pub value: f64,
}

fn positive(what: &'static str, value: f64) -> Result<(), BearingError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(BearingError { what, value })
    }
}

impl BearingGeometry {
    /// # Errors
    /// Dimensions or a speed that are not above zero.
    pub fn fault_frequencies(&self, shaft: f64) -> Result<FaultFrequencies, BearingError> {
        positive("the number of rolling elements", f64::from(self.rolling_elements))?;
        positive("the element diameter", self.element_diameter)?;
        positive("the pitch diameter", self.pitch_diameter)?;
        positive("the shaft speed", shaft)?;
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
