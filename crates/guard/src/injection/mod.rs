//! Attacks on the model through text.
