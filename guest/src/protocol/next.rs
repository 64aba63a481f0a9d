//! LiveStore's main branch at commit 282e88a (August 2026), not yet released:
//! Effect RPC as `effect` 4 writes it. Sources: that commit's
//! `packages/@livestore/sync-cf`, and the transcripts next-*.

use super::event::ItemForm;
use super::rpc::{IdForm, Rpc};
use crate::imports::Callback;

/// How it is read and written.
pub const CODEC: Rpc = Rpc {
    ids: IdForm::Number,
    ends_with_value: true,
    lists_causes: true,
    items: ItemForm::Complete,
    callback: Callback::Packed,
};
