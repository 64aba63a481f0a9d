//! The contract (`wit/`) as types.
// The macro writes what it writes.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

wit_bindgen::generate!({
    path: "../wit",
    world: "sync-backend",
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
    additional_derives: [PartialEq, Eq],
});
