//! A fixed buffer that answers are written to.

/// Most digits of a `u64`.
const MAX_DECIMAL_DIGITS: usize = 20;

/// Digit pairs, so that a number is written two digits a division.
static DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// How many digits `value` has in decimal.
#[inline]
#[must_use]
pub const fn decimal_digits(value: u64) -> usize {
    if value < 10 { 1 } else { value.ilog10() as usize + 1 }
}

/// Bytes on their way out, in memory of the caller.
///
/// Whoever writes has checked [`OutputBuffer::remaining`] first; writing past the end is a mistake
/// of the program and panics.
#[derive(Debug)]
pub struct OutputBuffer<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> OutputBuffer<'b> {
    /// An empty buffer over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room left, in bytes.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// What is written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Appends `value` in decimal.
    #[inline]
    pub fn put_decimal(&mut self, mut value: u64) {
        if value < 10 {
            self.put(&[b'0' + value as u8]);
            return;
        }
        let mut digits = [0; MAX_DECIMAL_DIGITS];
        let mut start = MAX_DECIMAL_DIGITS;
        while value >= 10 {
            start -= 2;
            digits[start..start + 2].copy_from_slice(&DIGIT_PAIRS[(value % 100) as usize]);
            value /= 100;
        }
        if value > 0 {
            start -= 1;
            digits[start] = b'0' + value as u8;
        }
        self.put(&digits[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: u64) -> String {
        let mut bytes = [0; 32];
        let mut out = OutputBuffer::new(&mut bytes);
        out.put_decimal(value);
        String::from_utf8(out.written().to_vec()).unwrap()
    }

    #[test]
    fn numbers_at_every_edge_are_written_as_std_writes_them() {
        let powers = (0..20).map(|e| 10_u64.pow(e));
        for value in powers.flat_map(|p| [p - 1, p, p + 1, p / 5 * 9]).chain([0, u64::MAX]) {
            assert_eq!(written(value), value.to_string());
            assert_eq!(decimal_digits(value), value.to_string().len());
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_as_std_writes_it(value: u64, shift in 0_u32..64) {
            prop_assert_eq!(written(value >> shift), (value >> shift).to_string());
        }
    }
}
