//! Rows cut into windows: as few as the most rows of a window allow, and as even as whole tiles allow. Pure.

/// Rows of the next window, of `left` rows that are left: at most `most`, in whole tiles of `tile` rows but for the last of
/// all. Windows that are taken one after the other differ by one tile at most, and by one row where a tile is one.
pub(crate) fn next_rows(left: usize, most: usize, tile: usize) -> usize {
    let most = most.max(1);
    let windows = left.div_ceil(most).max(1);
    (left.div_ceil(tile).div_ceil(windows) * tile).min(most).min(left)
}

/// The first row of each window, and how many it has.
pub(crate) fn windows(
    rows: usize,
    most: usize,
    tile: usize,
) -> impl Iterator<Item = (usize, usize)> + Clone + use<> {
    std::iter::successors(Some((0, next_rows(rows, most, tile))), move |&(first, count)| {
        let next = first + count;
        Some((next, next_rows(rows - next, most, tile)))
    })
    .take_while(|&(_, count)| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn windows_are_few_and_even(rows in 1_usize..5_000_000, most in 1_usize..3_000_000, tile in 1_usize..300) {
            let most = most.max(rows / 2000);
            let single: Vec<_> = windows(rows, most, 1).collect();
            let least = single.iter().map(|&(_, count)| count).min().unwrap();
            let largest = single.iter().map(|&(_, count)| count).max().unwrap();
            prop_assert!(largest <= most && largest - least <= 1, "{least} to {largest}");
            // Where whole tiles fit a window, all but the last are of whole tiles.
            let most = if most < tile { most } else { most / tile * tile };
            for cut in [single, windows(rows, most, tile).collect()] {
                let mut next = 0;
                for &(first, count) in &cut {
                    prop_assert!(first == next && count > 0);
                    next += count;
                }
                prop_assert_eq!(next, rows);
            }
            let cut: Vec<_> = windows(rows, most, tile).collect();
            prop_assert_eq!(cut.len(), rows.div_ceil(most));
            let (last, others) = cut.split_last().unwrap();
            if most >= tile {
                prop_assert!(others.iter().all(|(_, count)| count.is_multiple_of(tile)), "{cut:?}");
                let tiles = |&(_, count): &(usize, usize)| count.div_ceil(tile);
                let most_tiles = cut.iter().map(tiles).max().unwrap();
                prop_assert!(most_tiles - cut.iter().map(tiles).min().unwrap() <= 1, "{cut:?}");
                prop_assert!(last.1 <= most);
            }
        }
    }

    #[test]
    fn no_rows_are_no_windows() {
        assert_eq!(windows(0, 10, 4).count(), 0);
        assert_eq!(
            windows(4_194_304, 4_194_303, 1).collect::<Vec<_>>(),
            [(0, 2_097_152), (2_097_152, 2_097_152)]
        );
        assert_eq!(windows(1000, 512, 128).collect::<Vec<_>>(), [(0, 512), (512, 488)]);
        assert_eq!(windows(1281, 512, 128).map(|(_, count)| count).collect::<Vec<_>>(), [512, 512, 257]);
    }
}
