//! How a run ends: nothing fails any more, all acknowledge, all converge.

use super::super::world::Turn;
use super::Run;

impl Run {
    /// Everybody does all there is to do.
    pub(super) fn calm_round(&mut self) {
        let network = &mut self.world.network;
        if self.oracle.is_misled() || self.world.timer_is_lost {
            // Only a push shows a room that another writer was there, and
            // only a turn tells those who waited when their timer was lost.
            self.v4[0].replica.draft(&mut self.rng);
        }
        self.rng.shuffle(&mut self.v4);
        for client in &mut self.v4 {
            client.act(network, &mut self.rng, true);
        }
        for client in &mut self.v3 {
            client.act(network, &mut self.rng, true);
        }
        for client in &mut self.http {
            client.act(network, &mut self.rng, true);
        }
        for client in &mut self.objects {
            client.act(network, &mut self.rng, true);
        }
        // Alarms: nobody else may come for what waits.
        for id in network.subscribers.keys().copied().collect::<Vec<_>>() {
            self.turn(Turn::Drained(id));
            self.commit();
        }
        while let Some(turn) = self.next_turn().or_else(|| self.time_passes()) {
            self.turn(turn);
            self.commit();
        }
    }

    /// Liveness: all clients have the whole log, and it has all their events.
    pub(super) fn has_converged(&self) -> bool {
        let Some(log) = self.oracle.epochs.last() else {
            return false;
        };
        let v4 = self.v4.iter().map(|it| (&it.replica, it.is_settled()));
        let v3 = self.v3.iter().map(|it| (&it.replica, it.is_settled()));
        let http = self.http.iter().map(|it| (&it.replica, it.is_settled()));
        let objects = self.objects.iter();
        let objects = objects.map(|it| (&it.replica, it.is_settled()));
        v4.chain(v3)
            .chain(http)
            .chain(objects)
            .all(|(replica, is_settled)| {
                is_settled
                    && replica.cursor == log.head()
                    && replica
                        .backend_id
                        .as_ref()
                        .is_none_or(|id| *id == log.backend_id)
            })
    }

    /// I1: what storage holds is what the oracle saw committed.
    pub(super) fn check_end(&self) {
        let log = self.oracle.epochs.last().unwrap();
        assert!(self.world.storage.durable_events() == log.events.as_slice());
    }
}
