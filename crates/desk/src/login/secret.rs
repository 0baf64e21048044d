//! Fresh secrets from the system's randomness.

use crate::domain::Secret;

/// A secret that nobody has yet.
pub(crate) fn fresh() -> Secret {
    let mut bytes = [0_u8; Secret::BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's generator works from its first use on");
    Secret::from_random(bytes)
}
