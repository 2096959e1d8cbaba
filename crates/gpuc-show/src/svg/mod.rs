//! Pictures: documents in, SVG out.
//!
//! Each file stands alone (no script, font or link), follows the reader's light or dark scheme,
//! and tells apart by pattern, dash and label what it also tells apart by colour.

mod axis;
mod canvas;
mod depths;
mod frontier;
mod heat;
mod memory;
pub(crate) mod metric;
pub(crate) mod number;
mod paint;
mod panel;
mod picture;
mod plan;
mod rates;
mod replay;
mod routing;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod track;
mod trajectory;
pub(crate) mod xml;

pub use picture::Picture;
pub use plan::plan;
pub use rates::receipt;
pub use routing::routing;
pub use track::Track;
