//! The live dashboard of a watch: a state that takes in what happens, and frames drawn from it.
//!
//! Nothing here knows a terminal: bytes for one come out of [`Painter`], bytes from its keyboard go
//! through [`keys`].

mod charts;
mod events;
mod frame;
mod history;
mod key;
mod layout;
mod meters;
mod pane;
mod pen;
mod rows;
mod screen;
mod scrollback;
mod state;
#[cfg(test)]
mod tests;

pub use key::{Key, keys};
pub use screen::{Painter, parting};
pub use scrollback::Scrollback;
pub use state::{About, Dashboard, Look, Wish};
