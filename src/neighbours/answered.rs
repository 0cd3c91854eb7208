//! Which queries have their answer: what a failed attempt left is searched again, and nothing is answered twice.

use std::sync::atomic::{AtomicBool, Ordering};

use super::problem::{Part, Selection};
use crate::error::Result;

/// One mark per query of a call.
pub(super) struct Answered(Vec<AtomicBool>);

impl Answered {
    /// None of so many queries has an answer.
    pub fn new(queries: usize) -> Self {
        Self((0..queries).map(|_| AtomicBool::new(false)).collect())
    }

    /// `visit`, and a mark for each answer that it took.
    pub fn noting<A>(
        &self,
        mut visit: impl FnMut(u32, A) -> Result<()> + Send,
    ) -> impl FnMut(u32, A) -> Result<()> + Send {
        move |query, answer| {
            visit(query, answer)?;
            self.0[query as usize].store(true, Ordering::Relaxed);
            Ok(())
        }
    }

    /// The part with those of its queries that have no answer: as it is where that is all of them, `None` for none.
    pub fn rest_of(&self, part: &Part) -> Option<Part> {
        let is_open = |query: &u32| !self.0[*query as usize].load(Ordering::Relaxed);
        let count = part.queries.len();
        let open: Vec<u32> = part.queries.range(0, count).into_iter().filter(is_open).collect();
        let queries = match open.len() {
            0 => return None,
            left if left == count => part.queries.clone(),
            _ => Selection::Ids(open),
        };
        Some(Part { queries, points: part.points.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_not_asked_again() {
        let answered = Answered::new(4);
        let all = Part { queries: Selection::All(4), points: Selection::All(9) };
        assert!(answered.rest_of(&all).unwrap().is_everything());
        let mut visit =
            answered.noting(|query, ()| if query == 2 { Err(crate::Error::Cancelled) } else { Ok(()) });
        assert!(visit(0, ()).is_ok() && visit(3, ()).is_ok() && visit(2, ()).is_err());
        let rest = answered.rest_of(&all).unwrap();
        assert_eq!(rest.queries.range(0, rest.queries.len()), [1, 2]);
        let some = Part { queries: Selection::Ids(vec![0, 3]), points: Selection::All(9) };
        assert!(answered.rest_of(&some).is_none());
    }
}
