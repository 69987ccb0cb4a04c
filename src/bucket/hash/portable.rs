//! AES-128 by a library, for processors without instructions of their own for it or other than x86-64.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};

use super::pmac::{Cipher, Pmac};

/// PMAC with AES-128 on any processor.
pub(super) type PortablePmac = Pmac<Aes>;

/// The cipher under a key.
#[derive(Clone)]
pub(super) struct Aes(Aes128Enc);

impl PortablePmac {
    pub(super) fn of_key(key: &[u8; 16]) -> Self {
        Self::new(Aes(Aes128Enc::new(key.into())))
    }
}

impl Cipher for Aes {
    type Block = [u8; 16];

    fn encrypt(&self, block: [u8; 16]) -> [u8; 16] {
        let mut block = block.into();
        self.0.encrypt_block(&mut block);
        block.into()
    }

    fn of_bytes(bytes: &[u8; 16]) -> [u8; 16] {
        *bytes
    }

    fn of_words(low: u64, high: u64) -> [u8; 16] {
        ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
    }

    fn to_bytes(block: [u8; 16]) -> [u8; 16] {
        block
    }

    fn xor(a: [u8; 16], b: [u8; 16]) -> [u8; 16] {
        (u128::from_ne_bytes(a) ^ u128::from_ne_bytes(b)).to_ne_bytes()
    }
}
