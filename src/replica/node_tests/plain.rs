//! A counter that grew is charged by one look at its bucket, or step by step: it makes no difference.

use super::*;

/// What happens to a node between two entries.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// This node charges.
    Charge(u64),
    Pass {
        time_ms: u64,
    },
    /// A peer cannot be heard, or is heard again.
    Present(u8, bool),
    /// The peer has charged, perhaps in a bucket made anew, and tells of it after `late` other entries.
    Hear {
        peer: u8,
        growth: u64,
        made_anew: bool,
        late: usize,
        arrival: Arrival,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let peer = || 2_u8..4;
    let growth = prop_oneof![8 => 0_u64..20, 1 => Just(BURST), 1 => Just(BURST * 10), 1 => Just(1 << 50)];
    let arrival = prop_oneof![9 => Just(Arrival::Delta), 1 => Just(Arrival::Sync)];
    let hear = (peer(), growth, prop::bool::weighted(0.05), 0_usize..3, arrival).prop_map(
        |(peer, growth, made_anew, late, arrival)| Event::Hear { peer, growth, made_anew, late, arrival },
    );
    prop_oneof![
        10 => hear,
        2 => (1_u64..20).prop_map(Event::Charge),
        2 => (0_u64..1_500).prop_map(|time_ms| Event::Pass { time_ms }),
        1 => (peer(), any::<bool>()).prop_map(|(peer, present)| Event::Present(peer, present)),
    ]
}

fn sharing() -> impl Strategy<Value = Sharing> {
    let (full, strict) = (Partition::Full, Consistency::Strict);
    prop_oneof![
        Just(EVENTUAL),
        Just(Sharing { partition: full, ..EVENTUAL }),
        Just(Sharing { consistency: strict, ..EVENTUAL }),
    ]
}

/// All that peers see of a node's bucket, and what is known of them.
fn state(node: &Node) -> impl PartialEq + std::fmt::Debug {
    let line = node.replica.line(node.id(b"k"));
    let counters = line.map(|line| node.replica.counters(line));
    let view = line.and_then(|line| node.table.view(line as usize));
    let observed = format!("{:?}", node.replica.observed);
    (counters, view.map(|view| (view.tat, view.count, view.phantom)), node.replica.stats(), observed)
}

/// The entries of a peer so far.
#[derive(Default)]
struct Said(Vec<Entry>);

impl Said {
    fn next(&mut self, id: BucketId, policy: u64, growth: u64, made_anew: bool) {
        let last = self.0.last().map_or((EPOCH_MS << 20, 0), |last| (last.count, last.used));
        let (start, used) = if made_anew { (last.0 + 1_000, 0) } else { (last.0, last.1) };
        let (count, used) = (start.saturating_add(growth), used + growth);
        self.0.push(Entry { policy, id, count, used, level: used.min(BURST) << 16 });
    }
}

proptest! {
    #[test]
    fn a_node_that_is_told_the_line_does_what_one_does_that_looks_for_it(
        sharing in sharing(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let (mut told, mut looking) = (Node::new(1, sharing), Node::new(1, sharing));
        let mut said = [Said::default(), Said::default()];
        let (id, policy) = (told.id(b"k"), told.policy().identity());
        for event in events {
            match event {
                Event::Charge(cost) => prop_assert_eq!(told.charge(b"k", cost), looking.charge(b"k", cost)),
                Event::Pass { time_ms } => {
                    told.pass(time_ms);
                    looking.pass(time_ms);
                }
                Event::Present(peer, present) => [&mut told, &mut looking].into_iter().for_each(|node| {
                    node.replica.peer_present(node_id(peer), present, node.now);
                }),
                Event::Hear { peer, growth, made_anew, late, arrival } => {
                    let said = &mut said[usize::from(peer - 2)];
                    said.next(id, policy, growth, made_anew);
                    let entry = said.0[said.0.len().saturating_sub(1 + late)];
                    let line = told.replica.line(id).unwrap_or(0) as usize;
                    let by_line = told.replica.apply(told.delivery(peer, arrival), &entry, Some(line));
                    let by_id = looking.replica.apply(looking.delivery(peer, arrival), &entry, None);
                    prop_assert_eq!(by_line, by_id);
                }
            }
            prop_assert_eq!(state(&told), state(&looking));
        }
    }
}
