/// Where a search is.
struct Control {
    /// The next candidate.
    next: u32,
    /// Candidates since the last swap.
    since: u32,
    /// Candidates that are looked at together.
    together: u32,
    /// Swaps so far.
    swaps: u32,
    /// Whether this step found a swap, and which.
    found: u32,
    candidate: u32,
    place: u32,
    padding: u32,
}
