//! A blob as it comes. Where the registry breaks off, it is asked again from there on.

use std::io::{self, Read};
use std::time::Duration;

use ureq::BodyReader;

use super::super::Told;
use super::connection::Connection;

/// How often in a row a registry may break off without having sent anything, and how often at all.
const FRUITLESS: u32 = 3;
const AT_ALL: u32 = 100;
/// How long to wait before asking again: twice as long each time, up to this.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub struct Blob<'a> {
    connection: &'a Connection,
    path: String,
    size: u64,
    told: &'a dyn Told,
    /// How many bytes came.
    at: u64,
    body: Option<BodyReader<'static>>,
    fruitless: u32,
    broke_off: u32,
}

impl<'a> Blob<'a> {
    pub fn new(connection: &'a Connection, path: String, size: u64, told: &'a dyn Told) -> Self {
        Self { connection, path, size, told, at: 0, body: None, fruitless: 0, broke_off: 0 }
    }

    /// Asks for what is missing.
    fn open(&self) -> io::Result<BodyReader<'static>> {
        let range = format!("bytes={}-", self.at);
        let headers = [("Range", range.as_str())];
        let headers = if self.at == 0 { &[][..] } else { &headers[..] };
        let answer = self.connection.get(&self.path, headers).map_err(io::Error::other)?;
        let is_rest = answer.status() == 206;
        let answer = self.connection.good(answer, &self.path).map_err(io::Error::other)?;
        let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
        if !is_rest && self.at > 0 {
            // One that does not know ranges sends all of it again.
            io::copy(&mut body.by_ref().take(self.at), &mut io::sink())?;
        }
        Ok(body)
    }

    fn attempt(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.open()?,
        };
        let length = body.read(buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.body = Some(body);
        Ok(length)
    }
}

/// Whether asking again may help: not where the registry gave an answer that is an answer.
fn may_pass(error: &io::Error) -> bool {
    let given = error.get_ref().and_then(|inner| inner.downcast_ref::<super::ImageError>());
    given.is_none_or(super::ImageError::may_pass)
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.attempt(buffer) {
                Ok(length) => {
                    self.at += length as u64;
                    self.fruitless = 0;
                    return Ok(length);
                }
                Err(error) => {
                    self.body = None;
                    self.fruitless += 1;
                    self.broke_off += 1;
                    let is_hopeless = self.fruitless > FRUITLESS || self.broke_off > AT_ALL;
                    if is_hopeless || !may_pass(&error) {
                        return Err(self.connection.broke_off(error, self.at, self.size));
                    }
                    let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.fruitless - 1);
                    std::thread::sleep(pause.min(LONGEST_PAUSE));
                    self.told.resumed(self.at);
                }
            }
        }
    }
}
