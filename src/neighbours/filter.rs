//! Which points a query may have: one filter per group of queries, as multi-tenant search needs it.

use crate::error::{Error, Result};
use crate::memory::{self, area};

/// The points that a group of queries may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// One bit per point, the first in the lowest bit of the first byte; a byte for every 8 points, the last one padded.
    Bitmap(Vec<u8>),
    /// Indices of points, in any order.
    Ids(Vec<u32>),
}

/// Filters, and which of them holds for each query. No point outside a query's filter is ever returned.
///
/// ```
/// use tilefold::neighbours::{Filter, Filters};
/// // Of four points the first query may have 0 and 3, the second 1 and 2.
/// let filters = vec![Filter::Bitmap(vec![0b1001]), Filter::Ids(vec![2, 1])];
/// let filters = Filters::per_query(filters, vec![0, 1]);
/// # let _ = filters;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    filters: Vec<Filter>,
    /// `None`: the only filter holds for every query.
    of_query: Option<Vec<u32>>,
}

/// Queries that share their points.
pub(super) struct Group {
    /// Ascending.
    pub queries: Vec<u32>,
    /// Ascending, without repetitions.
    pub points: Vec<u32>,
}

impl Filters {
    /// The same filter for every query.
    pub fn for_all(filter: Filter) -> Self {
        Self { filters: vec![filter], of_query: None }
    }

    /// For each query the index of its filter.
    pub fn per_query(filters: Vec<Filter>, of_query: Vec<u32>) -> Self {
        Self { filters, of_query: Some(of_query) }
    }

    /// The groups that have queries.
    ///
    /// # Errors
    /// [`Error::Shape`] for a bitmap or a list of filters' indices of the wrong length, [`Error::Parameter`] for an
    /// index that does not exist.
    pub(super) fn groups(&self, queries: usize, points: usize) -> Result<Vec<Group>> {
        // Lists of unknown length grow to twice what they hold.
        let parts = [area::<[u64; 6]>(self.filters.len(), 2), area::<u32>(queries, 3)];
        memory::ask("the queries of each filter", &parts)?;
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); self.filters.len()];
        match &self.of_query {
            None => members[0] = (0..queries as u32).collect(),
            Some(of_query) if of_query.len() == queries => {
                for (query, &filter) in of_query.iter().enumerate() {
                    let count = self.filters.len();
                    let Some(members) = members.get_mut(filter as usize) else {
                        let rule = format!("an index below {count}, the number of filters");
                        return Err(Error::parameter("filters", rule, format!("{filter} for query {query}")));
                    };
                    members.push(query as u32);
                }
            }
            Some(of_query) => {
                let expected = format!("{queries} indices of filters, one per query");
                return Err(Error::shape("filters", expected, of_query.len()));
            }
        }
        let filled = members.into_iter().zip(&self.filters);
        let mut groups = Vec::with_capacity(self.filters.len());
        for (queries, filter) in filled {
            let points = filter.points(points)?;
            if !queries.is_empty() {
                groups.push(Group { queries, points });
            }
        }
        Ok(groups)
    }
}

impl Filter {
    /// The indices that it lets through, ascending.
    fn points(&self, count: usize) -> Result<Vec<u32>> {
        match self {
            Self::Bitmap(bytes) => {
                let expected = count.div_ceil(8);
                if bytes.len() != expected {
                    let expected = format!("a bitmap of {expected} bytes for {count} points");
                    return Err(Error::shape("filters", expected, format!("{} bytes", bytes.len())));
                }
                let is_set = |index: &u32| bytes[*index as usize / 8] >> (index % 8) & 1 == 1;
                let set = bytes.iter().map(|byte| byte.count_ones() as usize).sum();
                let mut ids = memory::room("the points of a filter", set)?;
                ids.extend((0..count as u32).filter(is_set));
                Ok(ids)
            }
            Self::Ids(ids) => {
                if let Some(id) = ids.iter().find(|&&id| id as usize >= count) {
                    return Err(Error::parameter(
                        "filters",
                        format!("indices below {count}, the number of points"),
                        id,
                    ));
                }
                let mut ids = memory::copied("the points of a filter", ids)?;
                ids.sort_unstable();
                ids.dedup();
                Ok(ids)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps_and_lists_say_the_same() {
        let bitmap = Filter::Bitmap(vec![0b1000_0010, 0b1111_1101]);
        assert_eq!(bitmap.points(9).unwrap(), [1, 7, 8]);
        assert_eq!(Filter::Ids(vec![8, 1, 7, 1]).points(9).unwrap(), [1, 7, 8]);
    }

    #[test]
    fn wrong_lengths_and_indices_are_refused() {
        let message = Filter::Bitmap(vec![0; 3]).points(9).unwrap_err().to_string();
        assert_eq!(message, "filters: expected a bitmap of 2 bytes for 9 points, got 3 bytes");
        assert!(Filter::Ids(vec![0, 9]).points(9).is_err());
        let filters = |of_query| Filters::per_query(vec![Filter::Ids(vec![1])], of_query);
        assert!(filters(vec![0; 4]).groups(5, 9).is_err());
        assert!(filters(vec![0, 0, 1]).groups(3, 9).is_err());
        assert_eq!(filters(vec![0, 0, 0]).groups(3, 9).unwrap()[0].queries, [0, 1, 2]);
    }
}
