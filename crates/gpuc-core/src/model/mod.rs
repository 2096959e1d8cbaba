//! Which facts a plan needs about a model, from its `config.json`: parameters by role, the layers
//! with routed experts, KV cache and recurrent state, bytes of a quantised weight.
//!
//! A configuration reduced to its dimensions gets the plain closed form of a gated transformer.
//! Where it says more, or its family is known to be built otherwise, the parts are counted as
//! llama.cpp allocates them. What is not understood is named in a note, never guessed.

mod analysis;
mod blocks;
mod config;
mod dims;
mod error;
mod experts;
mod family;
#[cfg(test)]
mod hostile;
mod latent;
mod mixing;
mod notes;
mod number;
mod placement;
mod published;
#[cfg(test)]
mod published_figures;
pub mod quant;
mod reading;
mod recurrent;
mod uneven;
mod weighed;

pub use analysis::{Analysis, analyze};
pub use error::ModelError;
pub use reading::read;
pub use weighed::{Weighed, weigh};
