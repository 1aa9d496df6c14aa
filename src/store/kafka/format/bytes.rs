//! Bytes of an entry, written and read: LEB128 numbers, zigzag where they may be negative, fixed words elsewhere.

use crate::store::kafka::format::Error;

/// Appends to an entry's bytes.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn fixed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.fixed(text.as_bytes());
    }

    pub fn words(&mut self, words: &[u64]) {
        self.0.reserve(words.len() * 8);
        words.iter().for_each(|word| self.fixed(&word.to_le_bytes()));
    }
}

/// Reads an entry's bytes. Nothing is allocated for what is not there, and each value has one spelling only.
#[derive(Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(all: &'a [u8]) -> Reader<'a> {
        Reader { all, at: 0 }
    }

    /// That what stands before this place is wrong.
    pub fn damage(&self, what: &'static str) -> Error {
        Error::Damaged { what, at: self.at }
    }

    pub fn check(&self, holds: bool, what: &'static str) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.damage(what)) }
    }

    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Error> {
        let taken = self.all[self.at..].get(..count).ok_or(Error::Damaged { what, at: self.all.len() })?;
        self.at += count;
        Ok(taken)
    }

    pub fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Error> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.take(N, what)?);
        Ok(fixed)
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8, Error> {
        Ok(self.fixed::<1>(what)?[0])
    }

    pub fn number(&mut self, what: &'static str) -> Result<u64, Error> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            self.check(bits << shift >> shift == bits && (byte != 0 || shift == 0), what)?;
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damage(what))
    }

    pub fn signed(&mut self, what: &'static str) -> Result<i64, Error> {
        let number = self.number(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that must fit `T`.
    pub fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, Error> {
        T::try_from(self.number(what)?).map_err(|_| self.damage(what))
    }

    pub fn flag(&mut self, what: &'static str) -> Result<bool, Error> {
        let flag = self.byte(what)?;
        self.check(flag <= 1, what)?;
        Ok(flag == 1)
    }

    pub fn text(&mut self, what: &'static str) -> Result<String, Error> {
        let length = self.small(what)?;
        let text = self.take(length, what)?;
        String::from_utf8(text.to_vec()).map_err(|_| self.damage(what))
    }

    /// So many 64-bit words, which are all there before memory is taken for them.
    pub fn words(&mut self, count: usize, what: &'static str) -> Result<Vec<u64>, Error> {
        let length = count.checked_mul(8).ok_or(self.damage(what))?;
        let (words, _) = self.take(length, what)?.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// All must have been read.
    pub fn end(&self) -> Result<(), Error> {
        self.check(self.at == self.all.len(), "bytes behind the end")
    }
}
