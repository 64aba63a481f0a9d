//! Pushes: they land, everybody is shown them, and their senders are answered.

use super::Room;
use super::answered::Request;
use super::fault::Fault;
use super::log::PushError;
use crate::imports::{ConnectionId, Event, Imports, Method};
use crate::protocol::event;
use crate::protocol::{Push, Reply, RequestId, Voice};

impl Room {
    /// A client pushes on a socket that is not fed.
    pub(super) fn push(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        (voice, request_id): (Voice, &RequestId),
        push: &Push<'_>,
    ) {
        if !push.batch.0.is_empty() {
            self.pushes_again(id);
            self.edits(imports, id, push.batch.0.len());
        }
        let exit = self.push_and_broadcast(imports, Some(id), (voice, request_id), push);
        self.end_request_with(imports, id, request_id, &exit);
    }

    /// Lands a push, shows it to everyone, and returns the answer for its
    /// sender, in his words: after the broadcast, as upstream has it (transcript ws-01).
    /// `from` is the socket that it came on.
    pub(super) fn push_and_broadcast(
        &mut self,
        imports: &mut impl Imports,
        from: Option<ConnectionId>,
        (voice, request_id): (Voice, &str),
        push: &Push<'_>,
    ) -> String {
        let batch = event::events(&push.batch);
        let is_here = push.store_id.as_ref().is_none_or(|id| *id == self.store_id);
        let landed = if is_here {
            self.push_batch(imports, &batch, push.backend_id.as_deref())
        } else {
            Err(PushError::Fault(Fault::store_mismatch()))
        };
        let request = Request {
            events: batch.len(),
            trace: push.trace.as_deref(),
            ..Request::of(from, Method::Push, request_id)
        };
        self.answered(imports, request, landed.as_ref().err().map(PushError::word));
        match landed {
            Ok(created_at) => {
                // Nothing at all lands anywhere.
                if let Some(created_at) = created_at {
                    self.broadcast(imports, &batch, &created_at, (request_id, from));
                    if let Some(id) = from {
                        self.edits_landed(imports, id);
                    }
                }
                voice.write(request_id, &Reply::Pushed)
            }
            Err(PushError::BackendIdMismatch { expected, received }) => {
                let (expected, received) = (&expected, &received);
                voice.write(request_id, &Reply::BackendIdMismatch { expected, received })
            }
            Err(PushError::ServerAhead {
                minimum_expected,
                provided,
            }) => {
                if let Some(id) = from {
                    self.edits_refused(imports, id, batch.len());
                    self.doubt(imports, id, true);
                }
                let ahead = Reply::ServerAhead {
                    minimum_expected,
                    provided,
                };
                voice.write(request_id, &ahead)
            }
            Err(PushError::Fault(fault)) => {
                self.report_invalid(imports, from, &batch, &fault);
                voice.write(request_id, &fault.reply())
            }
            // Another writer twice in a turn: as good as a failed storage.
            Err(PushError::Overtaken { .. }) => {
                voice.write(request_id, &Fault::overtaken().reply())
            }
        }
    }

    /// Lands a push. If another writer has moved the log on meanwhile, those
    /// who were live get what they missed (I3).
    pub(super) fn push_batch(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
        backend_id: Option<&str>,
    ) -> Result<Option<String>, PushError> {
        if let Some(first) = batch.first() {
            self.look_again(imports, first.parent_seq_num)
                .map_err(PushError::Fault)?;
        }
        let result = self.log.push(imports, batch, backend_id);
        if let Err(PushError::ServerAhead {
            minimum_expected,
            provided,
        }) = result
            && provided > minimum_expected
        {
            self.log.report_ahead(imports, minimum_expected, provided);
        }
        let Err(PushError::Overtaken {
            believed,
            minimum_expected,
            provided,
        }) = result
        else {
            return result;
        };
        self.overtaken(imports, &believed);
        Err(PushError::ServerAhead {
            minimum_expected,
            provided,
        })
    }
}
