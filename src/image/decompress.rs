//! Bytes without the compression that they have, which they themselves tell.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Largest window of Zstandard, in bytes: what its own program takes without being told.
const LARGEST_WINDOW: u64 = 128 << 20;
/// How much is read at once, in bytes.
const BUFFER: usize = 256 << 10;
/// Frames that hold nothing that was compressed: `0x184D2A50` and the fifteen behind it.
const SKIPPED: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a reader gives, decompressed: gzip of one or several members, Zstandard of one or several frames,
/// or as it is.
///
/// # Errors
/// What the reader answered.
pub fn decompressed<'a>(
    mut packed: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut magic = Vec::with_capacity(FRAME.len());
    packed.by_ref().take(FRAME.len() as u64).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&[0x1f, 0x8b]);
    let number = magic.as_slice().try_into().map(u32::from_le_bytes);
    let is_zstd = magic == FRAME || number.is_ok_and(|number| SKIPPED.contains(&number));
    let packed = Cursor::new(magic).chain(packed);
    Ok(match (is_gzip, is_zstd) {
        (true, _) => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, packed))),
        (_, true) => Box::new(Frames::of(BufReader::with_capacity(BUFFER, packed))),
        _ => Box::new(packed),
    })
}

/// Frames of Zstandard, one after the other.
struct Frames<R: BufRead> {
    state: State<R>,
}

type Frame<R> = StreamingDecoder<Chain<Cursor<[u8; 4]>, Noting<R>>, FrameDecoder>;

enum State<R: BufRead> {
    Between(Noting<R>),
    Inside(Box<Frame<R>>),
    Over,
}

/// A reader that keeps its error, of which a decoder would tell only the words.
struct Noting<R> {
    inner: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }
}

impl<R: BufRead> Frames<R> {
    fn of(packed: R) -> Self {
        Self { state: State::Between(Noting { inner: packed, error: None }) }
    }
}

/// The next frame that holds something; over when there is none.
fn next<R: BufRead>(mut packed: Noting<R>) -> io::Result<State<R>> {
    loop {
        if packed.inner.fill_buf()?.is_empty() {
            return Ok(State::Over);
        }
        let mut magic = [0; 4];
        packed.inner.read_exact(&mut magic)?;
        if SKIPPED.contains(&u32::from_le_bytes(magic)) {
            let mut length = [0; 4];
            packed.inner.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let skipped = io::copy(&mut packed.inner.by_ref().take(length), &mut io::sink())?;
            if skipped < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        }
        let packed = Cursor::new(magic).chain(packed);
        let frame = StreamingDecoder::new_with_max_window_size(packed, LARGEST_WINDOW);
        return frame.map(|frame| State::Inside(Box::new(frame))).map_err(|error| invalid(&error));
    }
}

/// What a decoder says is wrong, as what is wrong with its bytes.
fn invalid(error: &dyn std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(packed) => self.state = next(packed)?,
                State::Inside(mut frame) => match frame.read(buffer) {
                    Ok(0) if !buffer.is_empty() => {
                        let (_, packed) = frame.into_inner().into_inner();
                        self.state = State::Between(packed);
                    }
                    Ok(length) => {
                        self.state = State::Inside(frame);
                        return Ok(length);
                    }
                    Err(error) => {
                        let (_, packed) = frame.into_inner().into_inner();
                        return Err(packed.error.unwrap_or_else(|| invalid(&error)));
                    }
                },
            }
        }
    }
}
