//! Which adapters each row of a batch goes through.

use crate::error::{Error, Result};

/// One adapter for one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// Index of the adapter in the list that the batch is applied with.
    pub slot: u32,
    /// Multiplied with the adapter's own scale.
    pub scale: f32,
}

/// For each row of a batch the adapters it goes through, none, one or several, each with a scale of its own.
///
/// ```
/// use tilefold::lora::Routes;
/// let mut routes = Routes::new();
/// routes.push(Some(0)); // row 0: slot 0
/// routes.push(None); // row 1 stays as it is
/// routes.push_scaled(&[(0, 0.5), (2, 1.0)])?; // row 2: half of slot 0, and slot 2
/// assert_eq!((routes.rows(), routes.count(), routes.slots()), (3, 3, 3));
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    starts: Vec<usize>,
    routes: Vec<Route>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// A batch without rows.
    pub fn new() -> Self {
        Self { starts: vec![0], routes: Vec::new() }
    }

    /// One row per entry, each with one adapter or none.
    pub fn of_slots(slots: impl IntoIterator<Item = Option<u32>>) -> Self {
        let mut routes = Self::new();
        slots.into_iter().for_each(|slot| routes.push(slot));
        routes
    }

    /// Adds a row that goes through one adapter, or none.
    pub fn push(&mut self, slot: Option<u32>) {
        self.routes.extend(slot.map(|slot| Route { slot, scale: 1.0 }));
        self.starts.push(self.routes.len());
    }

    /// Adds a row that goes through several adapters: (slot, scale), added in this order.
    ///
    /// # Errors
    /// [`Error::Parameter`] where a scale is not finite.
    pub fn push_scaled(&mut self, routes: &[(u32, f32)]) -> Result<()> {
        if let Some((_, scale)) = routes.iter().find(|(_, scale)| !scale.is_finite()) {
            let rule = format!("a finite number (row {})", self.rows());
            return Err(Error::parameter("route scale", rule, scale));
        }
        self.routes.extend(routes.iter().map(|&(slot, scale)| Route { slot, scale }));
        self.starts.push(self.routes.len());
        Ok(())
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Routes of all rows together.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// The routes of one row, in the order in which they are added. Panics beyond the last row.
    pub fn of_row(&self, row: usize) -> &[Route] {
        &self.routes[self.starts[row]..self.starts[row + 1]]
    }

    /// One more than the largest slot, 0 where there is no route.
    pub fn slots(&self) -> usize {
        self.routes.iter().map(|route| route.slot as usize + 1).max().unwrap_or(0)
    }

    /// Refuses slots beyond `slots`.
    pub(crate) fn check(&self, slots: usize) -> Result<()> {
        for row in 0..self.rows() {
            if let Some(route) = self.of_row(row).iter().find(|route| route.slot as usize >= slots) {
                let rule = format!("slots below {slots} (row {row})");
                return Err(Error::parameter("routes", rule, route.slot));
            }
        }
        Ok(())
    }
}
