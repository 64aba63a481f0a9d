//! A deployment of the original server becomes Syncline's in place, and the
//! original's again: the same Worker name, class, bindings and database, so
//! the same Durable Objects and D1 tables.
#![allow(missing_docs)]

mod app;
mod deployment;
mod doubt;
mod from_0_3;
mod from_0_4;
mod log;
mod names;
mod tap;
