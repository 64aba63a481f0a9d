//! What the transcripts do not hold: they spell every message in one way.

use super::*;
use crate::protocol::v4::CODEC;

#[test]
fn an_ack_is_one_however_it_is_spelled() {
    let id = |frame: &str| match CODEC.read(frame.as_bytes(), Carrier::Socket) {
        Ok(Message::Ack(id)) => Some(id),
        _ => None,
    };
    for frame in [
        r#"{"_tag":"Ack","requestId":"12"}"#,
        r#"{"_tag": "Ack", "requestId": "12"}"#,
        r#"{"requestId":"12","_tag":"Ack"}"#,
        r#"{"_tag":"Ack","requestId":"12","more":"1"}"#,
        r#"{"_tag":"Ack","requestId":"\u0031\u0032"}"#,
    ] {
        assert_eq!(id(frame).as_deref(), Some("12"), "{frame}");
    }
    for frame in [
        r#"{"_tag":"Ack","requestId":""}"#,
        r#"{"_tag":"Ack","requestId":"1a"}"#,
        r#"{"_tag":"Ack","requestId":"1","x":"}"#,
        r#"{"_tag":"Ack","requestId":"12"} "x""#,
    ] {
        assert_eq!(id(frame), None, "{frame}");
    }
}
