//! What a node says of its buckets, and when.

use super::*;

#[test]
fn nothing_is_said_of_a_bucket_that_is_full_and_was_never_used_here() {
    let (mut a, b) = (Node::new(1, EVENTUAL), Node::new(2, EVENTUAL));
    assert!(b.charge(b"k", 1));
    a.hear(2, &b.entry(b"k"));
    let line = a.replica.line(a.id(b"k")).unwrap();
    assert_eq!(a.tell(&[line])[0].used, 0);
    a.pass(1000);
    assert_eq!(a.tell(&[line]), []);
    let empty = (line + 1) % 64;
    assert_eq!(a.tell(&[empty]), []);
}

#[test]
fn only_what_was_charged_here_is_told_as_changed() {
    let (mut a, b) = acquainted(EVENTUAL);
    let line = a.replica.line(a.id(b"k")).unwrap();
    assert_eq!(a.changed(), [line]);
    assert!(b.charge(b"k", 1));
    a.hear(2, &b.entry(b"k"));
    assert!(a.changed().is_empty());
    assert!(a.charge(b"k", 1) && a.charge(b"k", 0));
    assert_eq!(a.changed(), [line]);
    assert!(!a.charge(b"k", BURST));
    assert!(a.changed().is_empty());
}

#[test]
fn what_this_node_used_is_observed_once_whatever_limits_it_is_counted_in() {
    let mut a = Node::new(1, EVENTUAL);
    let used = |a: &mut Node, time_ms| {
        a.pass(time_ms);
        a.replica.observed[0].recent_tokens(0)
    };
    for (key, cost) in [(b"k".as_slice(), 4), (b"vip", 500), (b"l", 8), (b"k", 12)] {
        assert!(a.charge(key, cost));
    }
    assert!(!a.charge(b"k", BURST), "what is denied is not used");
    let kept = |seconds: f64| (-seconds / 5.0).exp();
    assert!((used(&mut a, 250) - 524.0 * kept(0.25)).abs() < 1e-9);
    assert!((used(&mut a, 1000) - 524.0 * kept(1.25)).abs() < 1e-9, "nothing was used since");
}

#[test]
fn what_this_node_used_is_observed_of_a_policy_that_a_reload_has_brought() {
    let mut a = Node::new(1, EVENTUAL);
    let next = Arc::new(a.policies.reload(&[spec("p", EVENTUAL), spec("new", EVENTUAL)], a.now).unwrap());
    a.table.publish_limits(&next);
    a.replica.set_policies(Arc::clone(&next));
    let policy = next.find(b"new").unwrap();
    assert!(a.table.charge(next.bucket_id(policy, b"k"), policy.default_limits(), 7, a.now).allowed);
    a.pass(250);
    let observed = &a.replica.observed[usize::from(policy.index())];
    assert!((6.0..=7.0).contains(&observed.recent_tokens(0)));
}

#[test]
fn what_this_node_uses_while_a_peer_is_absent_is_not_observed() {
    let mut a = Node::new(1, EVENTUAL);
    a.replica.peer_present(node_id(2), false, a.now);
    assert!(a.charge(b"k", 10));
    a.pass(250);
    a.replica.peer_present(node_id(2), true, a.now);
    a.pass(2 * DETECT.as_millis() as u64);
    a.pass(250);
    assert_eq!(a.replica.observed[0].recent_tokens(0), 0.0, "not afterwards either");
}

#[test]
fn a_bucket_that_is_more_than_half_used_is_to_be_told_first() {
    let mut a = Node::new(1, EVENTUAL);
    for (key, cost) in [(b"little", BURST / 2), (b"plenty", BURST / 2 + 1)] {
        assert!(a.charge(key, cost));
        let mut is_urgent = false;
        a.replica.drain_changed(a.now, &mut |some| is_urgent |= some.iter().any(|change| change.is_urgent));
        assert_eq!(is_urgent, cost > BURST / 2, "{cost} of {BURST}");
    }
}

#[test]
fn the_closer_to_its_limit_the_more_urgent_a_bucket_is() {
    let a = Node::new(1, EVENTUAL);
    assert!(a.charge(b"k", 1) && a.charge(b"l", BURST));
    let urgency = |key: &[u8]| a.replica.urgency(a.replica.line(a.id(key)).unwrap(), a.now);
    assert_eq!((urgency(b"k"), urgency(b"l")), (2, 255));
}

#[test]
fn what_is_charged_in_limits_of_a_reload_is_told_once_they_are_known_here() {
    let mut a = Node::new(1, EVENTUAL);
    let now = a.now;
    let next = Arc::new(a.policies.reload(&[spec("p", EVENTUAL), spec("new", EVENTUAL)], now).unwrap());
    a.table.publish_limits(&next);
    let policy = next.find(b"new").unwrap();
    let id = next.bucket_id(policy, b"k");
    assert!(a.table.charge(id, policy.default_limits(), 1, now).allowed);
    let line = a.replica.line(id).unwrap();
    assert_eq!(a.changed(), [line]);
    assert!(a.tell(&[line]).is_empty());
    a.replica.set_policies(next);
    assert_eq!(a.changed(), [line], "it could not be told");
    assert!(matches!(a.tell(&[line])[..], [Entry { count, .. }] if count > 0));
    assert!(a.changed().is_empty());
}

/// What `a` says of its bucket to a peer that has heard all there is, and to one that has just started, in whole
/// tokens of its level.
fn levels_told(a: &mut Node) -> [u64; 2] {
    let line = a.replica.line(a.id(b"k")).unwrap();
    [false, true].map(|to_joining| {
        let (telling, mut said) = (Telling { occasion: Occasion::Review, to_joining }, vec![]);
        a.replica.tell(&[line], telling, a.now, &mut said);
        said[0].1.level >> 16
    })
}

#[test]
fn who_starts_is_told_nothing_of_what_is_about_to_be_given_back() {
    let (mut a, _) = acquainted(EVENTUAL);
    assert!(a.charge(b"k", 50));
    a.pass(1000);
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), false, a.now));
    assert!(a.charge(b"k", BURST));
    a.replica.peer_present(node_id(2), true, a.now);
    assert_eq!(levels_told(&mut a), [300, 300], "what node 3 uses meanwhile is in it");
    a.replica.peer_present(node_id(3), true, a.now);
    assert_eq!(levels_told(&mut a), [300, BURST]);
    let mut b = Node::joining(2, EVENTUAL, 64);
    b.now = a.now;
    let said = Entry { level: BURST << 16, ..a.entry(b"k") };
    assert_eq!(b.sync(1, &said), Applied::Adopted);
    [&mut a, &mut b].into_iter().for_each(|node| node.pass(500));
    assert_eq!(a.level(b"k"), b.level(b"k"));
    assert_eq!(levels_told(&mut a), [BURST - RATE / 2; 2], "it is given back");
}

#[test]
fn who_starts_is_told_no_less_of_a_level_for_what_has_drained() {
    let (mut a, _) = acquainted(EVENTUAL);
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), false, a.now));
    for _ in 0..2 {
        assert!(a.charge(b"k", 30));
        a.pass(2000);
    }
    assert!(a.charge(b"k", 10));
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), true, a.now));
    assert_eq!(levels_told(&mut a), [30, 10]);
}

#[test]
fn what_was_used_of_a_policy_that_was_removed_is_still_told() {
    let mut a = Node::new(1, EVENTUAL);
    assert!(a.charge(b"k", 5));
    let said = a.entry(b"k");
    let next = Arc::new(a.policies.reload(&[spec("q", EVENTUAL)], a.now).unwrap());
    a.table.publish_limits(&next);
    a.replica.set_policies(next);
    assert_eq!(a.entry(b"k"), said);
    assert_eq!(a.hear(2, &said), Applied::UnknownPolicy);
}

#[test]
fn what_is_told_together_is_said_in_each_ones_limits() {
    let mut a = Node::new(1, EVENTUAL);
    let keys: [&[u8]; 4] = [b"k", b"vip", b"l", b"m"];
    for (key, cost) in keys.iter().zip([4, 500, 8, 12]) {
        assert!(a.charge(key, cost));
    }
    // What a millisecond gives back is a tenth of a token in one of the limits and a hundred in the other.
    a.now = MonotonicNs(1_000_000);
    let lines = keys.map(|key| a.replica.line(a.id(key)).unwrap());
    let said = a.tell(&lines);
    assert_eq!(said, keys.map(|key| a.entry(key)));
    assert_eq!(said[1].level, 400 << 16);
}
