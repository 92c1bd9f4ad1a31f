//! What the checker refuses, and what its proofs promise.

#[cfg(test)]
mod breaches;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod proofs;
