//! The `connections` import: what a turn does to its room's sockets. It is
//! noted here and happens when the turn is durable (design D2).

use super::State;
use crate::component::turn::Effect;
use crate::contract::bindings::syncline::backend::connections::{
    AttachError, Callback, Host, Opening, SubscribeError,
};

impl Host for State {
    fn send(&mut self, to: Vec<u32>, frame: String) {
        if let Some(turn) = &mut self.turn {
            turn.send(to, frame);
        }
    }

    fn send_each(&mut self, openings: Vec<Opening>, rest: String) {
        if let Some(turn) = &mut self.turn {
            let openings = openings.into_iter().map(|it| (it.to, it.head));
            turn.send_each(openings.collect(), rest);
        }
    }

    fn close(&mut self, connection: u32, code: u16, mut reason: String) {
        let mut end = reason.len().min(self.bounds.reason_bytes_max as usize);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        if let Some(turn) = &mut self.turn {
            turn.add(Effect::Close {
                connection,
                code,
                reason,
            });
        }
    }

    fn attach(&mut self, connection: u32, attachment: String) -> Result<(), AttachError> {
        if attachment.len() > self.bounds.attachment_bytes_max as usize {
            let bytes = u32::try_from(attachment.len()).unwrap_or(u32::MAX);
            return Err(AttachError::TooLarge(bytes));
        }
        match &mut self.turn {
            Some(turn) if turn.sockets.contains_key(&connection) => {
                turn.add(Effect::Attach {
                    connection,
                    attachment,
                });
                Ok(())
            }
            _ => Err(AttachError::Gone),
        }
    }

    fn attached(&mut self) -> Vec<(u32, String)> {
        self.turn.as_ref().map_or_else(Vec::new, |turn| {
            turn.sockets
                .iter()
                .filter_map(|(&id, socket)| Some((id, socket.attachment.clone()?)))
                .collect()
        })
    }

    fn subscribe(&mut self, _: String, _: String, _: Callback) -> Result<u32, SubscribeError> {
        Err(SubscribeError::Unsupported)
    }

    fn notify_drained(&mut self, connection: u32) {
        if let Some(turn) = &mut self.turn {
            turn.add(Effect::NotifyDrained { connection });
        }
    }
}
