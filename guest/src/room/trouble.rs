//! Clients in trouble: what the operator is told of them.

use super::Room;
use super::fault::Fault;
use crate::imports::{ConnectionId, Event, Imports, Level};

/// What a line shows of a client's id, in characters. Real ones are nanoids of
/// 21 characters or a word.
const ID_CHARS_MAX: usize = 64;

impl Room {
    /// A push was refused, and will be however often it is made: its client
    /// has lost events of its own (`editor.rs`), or its app makes larger ones
    /// than fit. The less often a line, the more there are.
    pub(super) fn report_invalid(
        &mut self,
        imports: &mut impl Imports,
        from: Option<ConnectionId>,
        batch: &[Event<'_>],
        fault: &Fault,
    ) {
        if !fault.is_final() {
            return;
        }
        let Some(count) = self.invalid_pushes.count() else {
            return;
        };
        let connection = from.and_then(|id| self.connections.get(&id));
        let user_id = connection.and_then(|connection| connection.user_id.as_deref());
        let client_id = batch.first().map_or("", |event| event.client_id);
        imports.log(
            Level::Warn,
            &format!(
                "a push was refused: {}: {} Client {}, user {} ({count} such pushes since the room woke). It will not sync until it is reset: PROTOCOL.md, \"Clients in trouble\".",
                fault.code,
                fault.message,
                shown(client_id),
                user_id.map_or_else(|| "unknown".to_owned(), shown),
            ),
        );
    }
}

/// An id as a line may show it: escaped, and not longer than real ones are.
fn shown(id: &str) -> String {
    let mut chars = id.chars();
    let begin: String = chars.by_ref().take(ID_CHARS_MAX).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("{begin:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_forges_no_line() {
        assert_eq!(shown("a\nWARN b\u{1b}[0m"), r#""a\nWARN b\u{1b}[0m""#);
        let long = "x".repeat(ID_CHARS_MAX + 1);
        assert_eq!(shown(&long), format!("\"{}\"…", &long[1..]));
    }
}
