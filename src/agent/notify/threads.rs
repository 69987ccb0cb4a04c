//! Which message belongs to which incident.

use std::collections::VecDeque;

use crate::agent::types::IncidentId;

/// Incidents that are told at once; the oldest makes room, and starts a new message if it goes on.
const MAX_THREADS: usize = 64;

/// The messages of the latest incidents.
#[derive(Debug)]
pub(super) struct Threads<H> {
    list: VecDeque<(IncidentId, H)>,
}

impl<H> Default for Threads<H> {
    fn default() -> Self {
        Self { list: VecDeque::new() }
    }
}

impl<H: Clone> Threads<H> {
    pub(super) fn get(&self, incident: &IncidentId) -> Option<H> {
        self.list.iter().find(|(id, _)| id == incident).map(|(_, handle)| handle.clone())
    }

    pub(super) fn insert(&mut self, incident: &IncidentId, handle: H) {
        self.remove(incident);
        if self.list.len() >= MAX_THREADS {
            self.list.pop_front();
        }
        self.list.push_back((incident.clone(), handle));
    }

    pub(super) fn remove(&mut self, incident: &IncidentId) {
        self.list.retain(|(id, _)| id != incident);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_incident_makes_room() {
        let id = |number: usize| IncidentId(number.to_string());
        let mut threads = Threads::default();
        for number in 0..=MAX_THREADS {
            threads.insert(&id(number), number);
        }
        threads.insert(&id(5), 500);
        assert_eq!(
            (threads.get(&id(0)), threads.get(&id(1)), threads.get(&id(5))),
            (None, Some(1), Some(500))
        );
        assert_eq!(threads.list.len(), MAX_THREADS);
    }
}
