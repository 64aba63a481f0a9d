//! LiveStore 0.4: Effect RPC as `effect` 3 writes it. Sources:
//! `@livestore/sync-cf` 0.4.0, `@effect/rpc` (`RpcMessage.ts`) and the
//! transcripts ws-*, http-*, do-rpc-*.

use super::event::ItemForm;
use super::rpc::{IdForm, Rpc};
use crate::imports::Callback;

/// How it is read and written.
pub const CODEC: Rpc = Rpc {
    ids: IdForm::Text,
    ends_with_value: false,
    lists_causes: false,
    items: ItemForm::Tagged,
    callback: Callback::Value,
};
