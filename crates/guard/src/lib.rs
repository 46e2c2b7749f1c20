//! What is in a text, and what may leave.
//!
//! A text is unfolded first ([`normalize`]): judges see it as it stands and as everything that it
//! decodes to, and what they find maps back to bytes of the original.
#![forbid(unsafe_code)]

pub mod injection;
pub mod normalize;
