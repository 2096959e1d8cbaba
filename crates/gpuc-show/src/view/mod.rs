//! What every renderer shows of a document, as numbers: text, pictures and pages draw the same.

mod memory;
mod speed;
mod words;

pub use memory::{Bar, Part, Segment, memory_map};
pub use speed::Speed;
pub use words::{placement, prompts, reason};
