//! Mutations of inputs, from a seed. (bolero, which would give both harnesses
//! from one definition, tries only random bytes beside the corpus where no
//! fuzzer is: none of those is ever a frame.)

use fastrand::Rng;

/// The longest input, in bytes: what is large is slow, and cargo-fuzz is told
/// the same.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Values that stand at the edge of something.
const VALUES: [&str; 29] = [
    "0",
    "-1",
    "1",
    "1.0",
    "1.5",
    "1e3",
    "1e999",
    "-0",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    r#""""#,
    r#""x""#,
    r#""0""#,
    r#""\ud800""#,
    r#""\u0000""#,
    r#""é😀""#,
    r#"{"_tag":"None"}"#,
    r#"{"_tag":"Some"}"#,
    r#"{"_tag":"Some","value":null}"#,
];

/// Bytes that mean something, or must not.
const BYTES: [&[u8]; 16] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"%",
    b"&",
];

/// The mutation of this seed: of one of the inputs, with parts of others and
/// of `words` in it.
#[must_use]
pub fn mutated(corpus: &[Vec<u8>], words: &[&str], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut input = pick(&mut rng, corpus);
    for _ in 0..rng.u32(1..=5) {
        mutate(&mut rng, &mut input, corpus, words);
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn pick(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    rng.choice(corpus).cloned().unwrap_or_default()
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    match rng.u8(0..14) {
        0 => {
            if let Some(byte) = at(rng, input) {
                input[byte] ^= 1 << rng.u8(0..8);
            }
        }
        1 => {
            if let Some(byte) = at(rng, input) {
                input[byte] = rng.u8(..);
            }
        }
        2 => {
            let bytes = *rng.choice(&BYTES).unwrap_or(&b"\0".as_slice());
            insert(rng, input, bytes);
        }
        3 => {
            if let Some(word) = rng.choice(words) {
                insert(rng, input, word.as_bytes());
            }
        }
        4 => {
            let range = range(rng, input.len());
            input.drain(range);
        }
        5 => {
            let range = range(rng, input.len());
            let times = if rng.u8(0..20) == 0 { 200 } else { 1 };
            let part = input[range].repeat(times);
            insert(rng, input, &part);
        }
        6 => {
            let other = pick(rng, corpus);
            let range = range(rng, other.len());
            insert(rng, input, &other[range]);
        }
        7 => {
            let end = rng.usize(0..=input.len());
            input.truncate(end);
        }
        8 | 9 => replace_value(rng, input),
        10 | 11 => nudge_number(rng, input),
        _ => mutate_lines(rng, input, corpus, words),
    }
}

fn at(rng: &mut Rng, input: &[u8]) -> Option<usize> {
    (!input.is_empty()).then(|| rng.usize(0..input.len()))
}

/// A part: short, mostly.
fn range(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let start = rng.usize(0..=length);
    let longest = if rng.u8(0..4) == 0 { length } else { 32 };
    let end = start + rng.usize(0..=(length - start).min(longest));
    start..end
}

fn insert(rng: &mut Rng, input: &mut Vec<u8>, bytes: &[u8]) {
    let at = rng.usize(0..=input.len());
    input.splice(at..at, bytes.iter().copied());
}

/// Puts another value in the place of a JSON value, or of a parameter's.
fn replace_value(rng: &mut Rng, input: &mut Vec<u8>) {
    let starts: Vec<usize> = (1..input.len())
        .filter(|&it| matches!(input[it - 1], b':' | b'[' | b',' | b'='))
        .collect();
    let Some(&start) = rng.choice(&starts) else {
        return;
    };
    let end = value_end(input, start);
    let value = rng.choice(&VALUES).unwrap_or(&"0");
    input.splice(start..end, value.bytes());
}

/// Makes a number a little smaller or larger: most bounds are a number's
/// neighbours.
fn nudge_number(rng: &mut Rng, input: &mut Vec<u8>) {
    let is_digit = |it: usize| input.get(it).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (1..input.len())
        .filter(|&it| is_digit(it) && matches!(input[it - 1], b':' | b'"' | b't' | b'w'))
        .collect();
    let Some(&start) = rng.choice(&starts) else {
        return;
    };
    let end = (start..).find(|&it| !is_digit(it)).unwrap_or(input.len());
    let digits = String::from_utf8_lossy(&input[start..end]);
    let Ok(number) = digits.parse::<u64>() else {
        return;
    };
    let by = rng.u64(1..=3);
    let number = if rng.bool() {
        number.saturating_sub(by)
    } else {
        number.saturating_add(by)
    };
    input.splice(start..end, number.to_string().into_bytes());
}

/// Where a value ends: a string, what brackets hold, or a run of others.
fn value_end(input: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut index = start;
    while let Some(&byte) = input.get(index) {
        match byte {
            b'\\' if in_string => index += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b'&' | b'\n' if depth == 0 => return index,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        index += 1;
    }
    input.len()
}

/// Takes a line out, repeats it elsewhere, or brings one from another input.
fn mutate_lines(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let mut lines: Vec<Vec<u8>> = input.split(|&it| it == b'\n').map(<[u8]>::to_vec).collect();
    let from = rng.usize(0..lines.len());
    let to = rng.usize(0..=lines.len());
    match rng.u8(0..5) {
        0 => {
            lines.remove(from);
        }
        1 => lines.insert(to, lines[from].clone()),
        2 => {
            let line = lines.remove(from);
            lines.insert(to.min(lines.len()), line);
        }
        3 => {
            if let Some(word) = rng.choice(words) {
                lines.insert(to, word.as_bytes().to_vec());
            }
        }
        _ => {
            let other = pick(rng, corpus);
            let others: Vec<&[u8]> = other.split(|&it| it == b'\n').collect();
            if let Some(line) = rng.choice(&others) {
                lines.insert(to, line.to_vec());
            }
        }
    }
    *input = lines.join(&b'\n');
}
