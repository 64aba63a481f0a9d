//! HTTP requests and their answers, as far as everybody needs them who answers
//! one.

pub mod answer;
pub mod body;
pub mod received;
