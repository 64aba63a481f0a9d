//! The recorded transcripts, replayed frame by frame.

use syncline_tests::replay::replay;
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::suite::Scenario;

macro_rules! replays {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(fn $name(server: &Server) {
            replay(server, include_str!(concat!("../fixtures/wire/", $file, ".jsonl")));
        })+
    };
}

replays! {
    replay_ws_01_one_real_client = "ws-01-real-client-lifecycle",
    replay_ws_02_two_real_clients = "ws-02-real-two-clients-broadcast",
    replay_ws_03_a_real_client_that_restarts = "ws-03-real-resume-with-cursor",
    replay_ws_04_real_clients_in_conflict = "ws-04-real-conflict-rebase",
    replay_ws_10_pulls = "ws-10-raw-pull",
    replay_ws_11_pushes = "ws-11-raw-push",
    replay_ws_12_refused_pushes = "ws-12-raw-push-errors",
    replay_ws_15_ping_ack_interrupt = "ws-15-raw-ping-ack-interrupt",
    replay_http_01_real_clients = "http-01-real-client",
    replay_http_02_requests = "http-02-raw-rpc",
    replay_v031_ws_01_two_real_clients = "v031-ws-01-real-two-clients",
    replay_v031_ws_02_messages = "v031-ws-02-raw",
    replay_next_ws_01_one_real_client = "next/ws-01-real-client-lifecycle",
    replay_next_ws_02_two_real_clients = "next/ws-02-real-two-clients-broadcast",
    replay_next_ws_03_a_real_client_that_reconnects = "next/ws-03-real-reconnect",
    replay_next_ws_04_real_clients_in_conflict = "next/ws-04-real-conflict-rebase",
    replay_next_ws_05_a_real_client_with_much = "next/ws-05-real-large",
    replay_next_ws_10_pulls = "next/ws-10-raw-pull",
    replay_next_ws_11_pushes = "next/ws-11-raw-push",
    replay_next_ws_12_refused_pushes = "next/ws-12-raw-push-errors",
    replay_next_ws_15_ping_ack_interrupt = "next/ws-15-raw-ping-ack-interrupt",
    replay_next_http_01_real_clients = "next/http-01-real-clients",
    replay_next_http_02_requests = "next/http-02-raw-rpc",
    replay_next_http_03_real_clients_with_much = "next/http-03-real-large",
}

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Open:
            replay_ws_01_one_real_client,
            replay_ws_02_two_real_clients,
            replay_ws_03_a_real_client_that_restarts,
            replay_ws_04_real_clients_in_conflict,
            replay_ws_10_pulls,
            replay_ws_11_pushes,
            replay_ws_12_refused_pushes,
            replay_ws_15_ping_ack_interrupt,
            replay_http_01_real_clients,
            replay_http_02_requests;
        Next Open:
            replay_next_ws_01_one_real_client,
            replay_next_ws_02_two_real_clients,
            replay_next_ws_03_a_real_client_that_reconnects,
            replay_next_ws_04_real_clients_in_conflict,
            replay_next_ws_05_a_real_client_with_much,
            replay_next_ws_10_pulls,
            replay_next_ws_11_pushes,
            replay_next_ws_12_refused_pushes,
            replay_next_ws_15_ping_ack_interrupt,
            replay_next_http_01_real_clients,
            replay_next_http_02_requests,
            replay_next_http_03_real_clients_with_much;
        V3 Open:
            replay_v031_ws_01_two_real_clients,
            replay_v031_ws_02_messages;
    ]
}
