//! Files changed by chance.

/// Splitmix64.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Numbers at the ends of ranges, as text.
const NUMBERS: [&str; 20] = [
    "0",
    "-1",
    "1e308",
    "1e999",
    "-0",
    "nan",
    "inf",
    "4294967295",
    "4294967296",
    "2147483648",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "0.1",
    "1e-400",
    "512",
    "513",
    "16777217",
    "99999999999999999999999999",
];

/// Whole numbers at the ends of ranges, as bytes.
const EXTREMES: [u64; 12] =
    [0, 1, 2, 7, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];

/// What means something in any of the formats.
const TOKENS: [&str; 24] = [
    "\"", "#", "\n", "\r\n", ",", ";", "\t", "{", "}", "[", "]", "null", "true", "{}", "[]", "\"\"", "\\",
    ".*", "(?=", "{999}", "\\w", "\u{feff}", "\0", "(",
];

/// `seed` after one to eight changes; `others` lend their bytes, `words` theirs.
pub fn changed(seed: &[u8], others: &[Vec<u8>], words: &[&str], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=chance.below(8) {
        change(&mut bytes, others, words, chance);
        bytes.truncate(1 << 18);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str], chance: &mut Chance) {
    if bytes.is_empty() {
        bytes.extend(chance.next().to_le_bytes());
    }
    let length = bytes.len();
    let at = chance.below(length);
    let end = (at + 1 + chance.below(64)).min(length);
    match chance.below(13) {
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => bytes[at] = chance.next() as u8,
        2 => bytes.insert(at, chance.next() as u8),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let again = bytes[at..end].repeat(1 + chance.below(20));
            bytes.splice(at..at, again);
        }
        6 => {
            let other = &others[chance.below(others.len())];
            let from = chance.below(other.len().max(1)).min(other.len());
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        7 => {
            let token = chance.pick(&TOKENS);
            bytes.splice(at..at, token.bytes());
        }
        8 if !words.is_empty() => {
            let word = chance.pick(words);
            bytes.splice(at..at, word.bytes());
        }
        9 => {
            // The number at or behind this place.
            let is_digit = |byte: &u8| byte.is_ascii_digit();
            let start = bytes[at..].iter().position(is_digit).map_or(at, |skipped| at + skipped);
            let digits = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
            bytes.splice(start..start + digits, chance.pick(&NUMBERS).bytes());
        }
        10 => {
            let width = 1 << chance.below(4);
            let number = EXTREMES[chance.below(EXTREMES.len())];
            let number =
                if chance.below(2) == 0 { number.to_le_bytes() } else { number.swap_bytes().to_le_bytes() };
            let width = width.min(length - at);
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        11 => {
            let deep = ["[", "{\"a\":", "("][chance.below(3)].repeat(1 + chance.below(3000));
            bytes.splice(at..at, deep.into_bytes());
        }
        _ => {
            let other = chance.below(length);
            bytes.swap(at, other);
        }
    }
}

#[test]
fn the_same_seed_changes_alike() {
    let seeds = vec![b"{\"a\": 12}".to_vec(), b"1,2\n".to_vec()];
    let all = |seed| -> Vec<Vec<u8>> {
        let mut chance = Chance::new(seed);
        (0..200).map(|_| changed(&seeds[0], &seeds, &["r"], &mut chance)).collect()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    assert!(all(1).iter().filter(|bytes| **bytes != seeds[0]).count() > 190);
}
