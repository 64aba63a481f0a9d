//! What a push's batch has to be (I4): one chain, of events that storage takes.

use super::fault::Fault;
use crate::imports::Event;
use crate::limits::{
    AUTHOR_ID_BYTES_MAX, EVENT_BYTES_MAX, EVENT_OVERHEAD_BYTES, NAME_BYTES_MAX, PUSH_EVENTS_MAX,
    SEQ_NUM_MAX,
};

/// Checks that the batch is one chain from `head` on and fits storage; returns
/// its last sequence number. Only the first event of all may have any number
/// (upstream's clients may begin where they like): a jump anywhere else is a
/// client that has lost events.
pub(super) fn check(head: u64, batch: &[Event<'_>]) -> Result<u64, Fault> {
    if batch.len() > PUSH_EVENTS_MAX {
        return Err(Fault::batch_too_large());
    }
    let mut previous = head;
    for event in batch {
        if event.parent_seq_num != previous {
            return Err(Fault::broken_chain(format!(
                "The event with seqNum {} has parentSeqNum {}; the event before it has seqNum {previous}. Nothing was stored.",
                event.seq_num, event.parent_seq_num
            )));
        }
        let is_next = match previous {
            0 => event.seq_num > 0,
            _ => previous.checked_add(1) == Some(event.seq_num),
        };
        if !is_next || event.seq_num > SEQ_NUM_MAX {
            return Err(Fault::broken_chain(format!(
                "The event with seqNum {} follows {previous}: a seqNum is its parent's plus one (on an empty log any, from 1 on), at most 2^53-1. Nothing was stored.",
                event.seq_num
            )));
        }
        if event.name.len() > NAME_BYTES_MAX
            || event.client_id.len() > AUTHOR_ID_BYTES_MAX
            || event.session_id.len() > AUTHOR_ID_BYTES_MAX
        {
            return Err(Fault::event_text_too_long(event.seq_num));
        }
        if event_bytes(event) > EVENT_BYTES_MAX {
            return Err(Fault::event_too_large(event.seq_num));
        }
        previous = event.seq_num;
    }
    Ok(previous)
}

/// What an event takes in a row.
fn event_bytes(event: &Event<'_>) -> usize {
    EVENT_OVERHEAD_BYTES
        + event.name.len()
        + event.args.map_or(0, str::len)
        + event.client_id.len()
        + event.session_id.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    fn event(seq_num: u64, parent_seq_num: u64) -> Event<'static> {
        Event {
            seq_num,
            parent_seq_num,
            name: "n",
            args: None,
            client_id: "c",
            session_id: "s",
        }
    }

    fn head_after(head: u64, batch: &[Event<'_>]) -> Option<u64> {
        check(head, batch).ok()
    }

    #[test]
    fn i4_an_empty_log_begins_at_any_number_and_goes_on_one_by_one() {
        for first in [1, 2, 100, 20_000, SEQ_NUM_MAX] {
            assert_eq!(head_after(0, &[event(first, 0)]), Some(first));
        }
        assert_eq!(head_after(0, &[event(100, 0), event(101, 100)]), Some(101));
        for (head, batch) in [
            (0, vec![event(0, 0)]),
            (0, vec![event(SEQ_NUM_MAX + 1, 0)]),
            (0, vec![event(100, 99)]),
            (0, vec![event(100, 0), event(102, 100)]),
            (0, vec![event(100, 0), event(50, 0)]),
            (1, vec![event(3, 1)]),
            (SEQ_NUM_MAX, vec![event(SEQ_NUM_MAX + 1, SEQ_NUM_MAX)]),
            (u64::MAX, vec![event(0, u64::MAX)]),
        ] {
            assert_eq!(head_after(head, &batch), None, "{head} {batch:?}");
        }
    }

    #[test]
    fn what_stands_beside_args_is_short() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let (name, id) = (&long[..NAME_BYTES_MAX], &long[..AUTHOR_ID_BYTES_MAX]);
        let longest = Event {
            name,
            client_id: id,
            session_id: id,
            ..event(1, 0)
        };
        assert_eq!(head_after(0, &[longest]), Some(1));
        let one_more = &long[..=AUTHOR_ID_BYTES_MAX];
        for event in [
            Event {
                name: &long,
                ..longest
            },
            Event {
                client_id: one_more,
                ..longest
            },
            Event {
                session_id: one_more,
                ..longest
            },
        ] {
            let fault = check(0, &[event]).map_err(|fault| fault.code);
            assert_eq!(fault, Err(Code::EventTooLarge));
        }
    }
}
