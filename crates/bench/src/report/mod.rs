//! What people see: tables, a live view, and pages with plots. All of it is made of documents.

mod live;
mod page;
mod plot;
mod tables;
mod terminal;

pub use live::Live;
pub use page::html;
pub use tables::{comparison_of_files, markdown};
pub(crate) use tables::{number, span};
pub use terminal::{Styling, terminal};
