//! How the documents of gpu-container are shown to people: screens of text, pictures and pages.
//!
//! Renderers are functions of a document and of what the output can show; like `gpuc-core`, nothing
//! here opens a file, asks the terminal, reads a clock or prints.

pub mod dashboard;
pub mod html;
pub mod openmetrics;
pub mod svg;
pub mod text;
pub mod view;
