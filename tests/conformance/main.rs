//! The conformance suite: what every server of the protocol has to do, over
//! the wire. `cargo test -p syncline-tests --test conformance`; see
//! `SYNCLINE_CELLS` and `SYNCLINE_URL` in `tests/src/cell.rs`.

mod admission;
mod batches;
mod editing;
mod endpoints;
mod events;
mod http_pulls;
mod ordering;
mod pace;
mod protocol_errors;
mod replays;
mod subscriptions;
mod v3;

use std::process::ExitCode;

use syncline_tests::cell::Cell::{Original031, Original040};
use syncline_tests::suite;

fn main() -> anyhow::Result<ExitCode> {
    let scenarios = [
        replays::scenarios(),
        events::scenarios(),
        batches::scenarios(),
        ordering::scenarios(),
        subscriptions::scenarios(),
        editing::scenarios(),
        protocol_errors::scenarios(),
        http_pulls::scenarios(),
        v3::scenarios(),
        endpoints::scenarios(),
        admission::scenarios(),
        pace::scenarios(),
    ];
    // What the original servers get wrong (PROTOCOL.md, “Where Syncline
    // differs from the original”).
    let faults = [
        // Stored as null, or parsed and written again.
        (Original040, "args_come_back_byte_for_byte"),
        (Original040, "an_event_without_args_comes_back_without_args"),
        // Acknowledged, then never delivered: every later pull fails.
        (Original040, "an_event_over_900_000_bytes_travels_alone"),
        (
            Original040,
            "an_event_over_2_mb_is_refused_and_nothing_is_stored",
        ),
        // Only the first event's parent is looked at.
        (Original040, "i4_a_batch_that_is_no_chain_is_refused_whole"),
        (Original040, "i4_sequence_numbers_end_at_2_to_the_53"),
        (Original040, "i4_a_log_that_has_begun_does_not_jump"),
        // Of any length; and over 900,000 bytes never delivered.
        (Original040, "names_and_ids_have_a_length"),
        // It gets the push between two pages.
        (Original040, "i3_a_late_subscriber_turns_live_without_a_gap"),
        // An answer as long as the question, or none.
        (Original040, "i9_long_junk_gets_a_short_answer"),
        // They wait for ever.
        (
            Original040,
            "who_never_pulls_and_is_refused_has_to_come_again",
        ),
        (
            Original040,
            "who_acknowledges_a_pull_of_another_socket_has_to_come_again",
        ),
        // They go on getting Chunks.
        (Original040, "i3_a_finished_pull_gets_nothing_more"),
        // The connection's store is used, whatever the message says.
        (Original040, "i5_a_message_for_another_store_is_refused"),
        // A Defect, which fails every request in flight.
        (Original040, "an_unknown_procedure_fails_its_request_alone"),
        // A Die, after which a client never pushes again.
        (
            Original040,
            "an_undecodable_request_fails_with_an_error_of_the_schema",
        ),
        // The connection is dead: the socket is open, and never answers.
        (
            Original040,
            "i9_a_frame_that_is_no_message_gets_a_defect_and_no_more",
        ),
        (Original040, "a_pull_with_an_id_in_use_starts_it_again"),
        // Defects and Dies, again.
        (Original040, "http_errors_are_of_the_schema"),
        // Ignored.
        (
            Original031,
            "v3_i9_a_frame_that_is_no_message_gets_an_error",
        ),
        (Original031, "v3_ping_is_answered_however_it_is_written"),
        (Original031, "v3_args_come_back_byte_for_byte"),
        (
            Original031,
            "v3_i4_a_batch_that_is_no_chain_is_refused_whole",
        ),
        // The rows stay, and so does the head.
        (Original031, "v3_a_reset_empties_the_log"),
        // Taken for a stale push, and the client waits for ever.
        (Original031, "v3_a_repeated_push_is_acknowledged_again"),
        // A client that lost its socket gets what comes next, with a gap.
        (
            Original031,
            "v3_i3_a_client_that_lost_its_socket_sees_no_gap",
        ),
    ];
    suite::run(scenarios.into_iter().flatten().collect(), &faults)
}
