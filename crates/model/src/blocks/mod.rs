//! The two halves of a layer, as free functions over ops. They take the step's buffers and know
//! of no request, no quantization and no family: what differs between families is data.

pub(crate) mod attention;
pub(crate) mod mlp;
