//! Names that stand for all modules that end with them, found without going over each.

/// Stands for a character that is not ASCII where all names are.
const NOT_ASCII: u8 = 0x80;

/// Plain names, sorted from their last byte on: those that a module can end with lie side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Endings {
    names: Vec<(Box<[u8]>, usize)>,
    dots_are_any: bool,
}

impl Endings {
    /// Of `names` with their places. Where `dots_are_any`, a dot of a name stands for any character but a line end, as
    /// in a regular expression, and all names are ASCII.
    pub(super) fn new(names: impl IntoIterator<Item = (String, usize)>, dots_are_any: bool) -> Self {
        let backwards = |(name, place): (String, usize)| (name.bytes().rev().collect(), place);
        let mut names: Vec<_> = names.into_iter().map(backwards).collect();
        names.sort_unstable();
        Self { names, dots_are_any }
    }

    /// The lowest place of a name that is the whole `module` or its end after a dot; `step` counts comparisons, and may
    /// stop the search.
    pub(super) fn first<E>(
        &self,
        module: &str,
        mut step: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let ascii = |character: char| u8::try_from(character).ok().filter(u8::is_ascii).unwrap_or(NOT_ASCII);
        if self.dots_are_any {
            self.first_of(module.chars().rev().map(ascii), &mut step)
        } else {
            self.first_of(module.bytes().rev(), &mut step)
        }
    }

    fn first_of<E>(
        &self,
        mut module: impl Iterator<Item = u8>,
        step: &mut impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let mut first: Option<usize> = None;
        // The names of a range have the same `length` last bytes, and the module ends with these.
        let mut ranges = vec![(0, self.names.len())];
        for length in 0.. {
            step(ranges.len())?;
            let next = module.next();
            if matches!(next, None | Some(b'.')) {
                // The shortest name comes first, and of equal ones that of the lowest place.
                let whole = |&(start, _): &(usize, usize)| {
                    self.names.get(start).filter(|(name, _)| name.len() == length).map(|(_, place)| *place)
                };
                first = ranges.iter().filter_map(whole).chain(first).min();
            }
            let Some(next) = next else { break };
            let any = (self.dots_are_any && !matches!(next, b'.' | b'\n')).then_some(b'.');
            let narrowed = |&range: &(usize, usize)| {
                [Some(next), any].into_iter().flatten().map(move |byte| self.narrowed(range, length, byte))
            };
            ranges = ranges.iter().flat_map(narrowed).filter(|(start, end)| start < end).collect();
            if ranges.is_empty() {
                break;
            }
        }
        Ok(first)
    }

    /// The names of a range that have `byte` before their last `length` ones.
    fn narrowed(&self, (start, end): (usize, usize), length: usize, byte: u8) -> (usize, usize) {
        let names = &self.names[start..end];
        let from = names.partition_point(|(name, _)| name.get(length) < Some(&byte));
        let to = names.partition_point(|(name, _)| name.get(length) <= Some(&byte));
        (start + from, start + to)
    }
}
