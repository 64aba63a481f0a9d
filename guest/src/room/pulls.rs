//! Pulls over sockets: they begin, are acknowledged, and are given up.

use super::Room;
use super::answered::Request;
use super::beginning::{Asked, NotBegun};
use super::connection::{self, Position};
use super::fault::Fault;
use crate::imports::{ConnectionId, Imports, Method};
use crate::limits::PULLS_MAX;
use crate::protocol::{Pull, Reply};

impl Room {
    pub(super) fn ack(&mut self, imports: &mut impl Imports, id: ConnectionId, request_id: &str) {
        let Some(pull) = self.pull(id, request_id) else {
            return self.doubt(imports, id, false);
        };
        let changed = pull.acknowledged();
        if pull.at != Position::Live && !pull.held {
            self.pump(imports, id, request_id);
        } else if changed {
            self.mark_dirty(id);
        }
        self.is_heard(imports, id);
    }

    /// A pull of a connection.
    pub(super) fn pull(
        &mut self,
        id: ConnectionId,
        request_id: &str,
    ) -> Option<&mut connection::Pull> {
        self.pulls(id)?
            .iter_mut()
            .find(|pull| pull.id == request_id)
    }

    pub(super) fn interrupt(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
    ) {
        let Some(pulls) = self.pulls(id) else {
            return;
        };
        let before = pulls.len();
        pulls.retain(|pull| pull.id != request_id);
        if pulls.len() != before {
            self.mark_dirty(id);
            self.reply(imports, id, request_id, &Reply::Interrupted);
        }
    }

    /// A client pulls that is not fed.
    pub(super) fn begin_pull_of(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        pull: &Pull<'_>,
    ) {
        self.pulls_now(id);
        self.comes(imports, id);
        let live = pull.live;
        let asked = Asked::from(pull);
        if let Some(before) = self.pull(id, request_id) {
            // It is here from now on, whatever is found out next.
            before.held = false;
            before.at = Position::Catching {
                cursor: asked.after,
                until: asked.after,
            };
        }
        let beginning = self.begin_pull(imports, asked);
        let beginning = beginning.and_then(|beginning| {
            self.check_place(id, request_id)?;
            Ok(beginning)
        });
        let request = Request {
            trace: pull.trace.as_deref(),
            ..Request::of(Some(id), Method::Pull, request_id)
        };
        let refused = beginning.as_ref().err().map(NotBegun::word);
        self.answered(imports, request, refused);
        match beginning {
            Ok(beginning) => self.start_pull(imports, id, request_id, live, &beginning),
            // An Exit would silence the client for ever; a close makes it
            // reconnect and pull again (design D10).
            Err(NotBegun::Fault(fault)) if live => self.close(imports, id, fault.code),
            Err(error) => self.end_request(imports, id, request_id, &error.reply()),
        }
    }

    /// Whether the connection may have this pull beside its others.
    fn check_place(&mut self, id: ConnectionId, request_id: &str) -> Result<(), Fault> {
        let others = self.pulls(id).map_or(0, |pulls| {
            pulls.iter().filter(|pull| pull.id != request_id).count()
        });
        if others >= PULLS_MAX {
            return Err(Fault::too_many_pulls());
        }
        Ok(())
    }
}
