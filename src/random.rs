//! Random names and keys, from the kernel.

use std::io::Read;

/// Letters and digits that Docker's ids are made of.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Random bytes, for keys.
///
/// # Errors
/// When the kernel gives none.
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A random id of `length` lower-case letters and digits.
///
/// # Panics
/// Never: where the kernel gives no random bytes, the clock's are taken, for uniqueness is all
/// that an id needs.
pub fn id(length: usize) -> String {
    let mut bytes = vec![0; length];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
        let seed = (nanos ^ u128::from(std::process::id())).to_le_bytes();
        bytes.iter_mut().zip(seed.iter().cycle()).for_each(|(byte, seed)| *byte = *seed);
    }
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    bytes.iter().map(letter).collect()
}
