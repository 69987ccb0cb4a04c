//! What was charged for absent peers, and how much of it is still in the level.

use super::*;

/// A node of three that hears neither of the others.
fn cut_off() -> Node {
    let mut node = Node::new(1, EVENTUAL);
    set_present(&mut node, &[2, 3], false);
    node
}

fn set_present(node: &mut Node, peers: &[u8], present: bool) {
    peers.iter().for_each(|peer| node.replica.peer_present(node_id(*peer), present, node.now));
}

/// The peers are back for so long that all is given back.
fn settle(node: &mut Node) {
    node.pass(500);
    node.pass(0);
}

#[test]
fn what_drained_while_the_bucket_was_full_again_is_not_given_back() {
    let mut a = cut_off();
    assert!(a.charge(b"k", 30));
    assert_eq!(a.level(b"k"), 90);
    a.pass(2000);
    assert!(a.charge(b"k", 10));
    set_present(&mut a, &[2, 3], true);
    assert!(a.charge(b"k", 70));
    settle(&mut a);
    assert_eq!(a.level(b"k"), 30 + 70 - 50 - 20);
}

#[test]
fn what_drained_before_the_peers_were_back_is_not_given_back() {
    let mut a = cut_off();
    assert!(a.charge(b"k", 30));
    a.pass(800);
    assert_eq!(a.level(b"k"), 10);
    set_present(&mut a, &[2, 3], true);
    assert!(a.charge(b"k", 70));
    settle(&mut a);
    assert_eq!(a.level(b"k"), 80 - 50 - 10);
}

#[test]
fn what_drained_before_the_growth_of_a_third_came_is_not_given_back() {
    let mut a = Node::new(1, EVENTUAL);
    let c = Node::new(3, EVENTUAL);
    assert!(c.charge(b"k", 1));
    assert_eq!(a.hear(3, &c.entry(b"k")), Applied::FirstContact(1));
    set_present(&mut a, &[2], false);
    assert!(a.charge(b"k", 58));
    assert_eq!(a.level(b"k"), 1 + 58 + 29);
    a.pass(800);
    set_present(&mut a, &[2], true);
    assert!(c.charge(b"k", 70));
    assert_eq!(a.hear(3, &c.entry(b"k")), Applied::Charged(70));
    settle(&mut a);
    assert_eq!(a.level(b"k"), 8 + 70 - 50 - 8);
}

#[test]
fn what_drained_before_a_third_was_heard_of_is_not_given_back() {
    let (mut a, c) = (cut_off(), Node::new(3, EVENTUAL));
    set_present(&mut a, &[3], true);
    a.pass(600);
    assert!(a.charge(b"k", 58));
    a.pass(800);
    set_present(&mut a, &[2], true);
    assert!(c.charge(b"k", 70));
    assert_eq!(a.hear(3, &c.entry(b"k")), Applied::FirstContact(70));
    settle(&mut a);
    assert_eq!(a.level(b"k"), 7 + 70 - 50 - 7);
}

#[test]
fn a_first_contact_is_set_against_no_more_than_what_stands() {
    let (mut a, b) = (cut_off(), Node::new(2, EVENTUAL));
    assert!(a.charge(b"k", 30));
    a.pass(2000);
    assert!(a.charge(b"k", 10) && b.charge(b"k", 40));
    set_present(&mut a, &[2, 3], true);
    assert_eq!(a.level(b"k"), 30);
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::FirstContact(40));
    assert_eq!(a.level(b"k"), 10 + 40);
}

#[test]
fn what_drained_covers_what_drained_at_one_peer_and_what_is_left_of_it_at_another() {
    let mut a = cut_off();
    let peers = [2, 3].map(|number| (number, Node::new(number, EVENTUAL)));
    for (number, peer) in &peers {
        assert!(peer.charge(b"k", 1));
        a.hear(*number, &peer.entry(b"k"));
    }
    a.pass(1000);
    assert!(a.charge(b"k", 30));
    a.pass(2000);
    set_present(&mut a, &[2, 3], true);
    for (number, mut peer) in peers {
        assert!(peer.charge(b"k", 30));
        peer.pass(2000);
        assert_eq!(a.hear(number, &peer.entry(b"k")), Applied::Charged(30));
        assert_eq!(a.level(b"k"), 0);
    }
}

#[test]
fn a_level_that_was_taken_over_has_nothing_of_what_was_charged_here() {
    let mut a = Node::joining(1, EVENTUAL, 64);
    set_present(&mut a, &[2, 3], false);
    assert!(a.charge(b"k", 30));
    set_present(&mut a, &[2, 3], true);
    let said = a.said_by_a_peer(b"k", 100, 50);
    assert_eq!(a.sync(2, &said), Applied::Adopted);
    assert_eq!(a.level(b"k"), 90, "the level of node 2 and what was used here are less");
    settle(&mut a);
    assert_eq!(a.level(b"k"), 50 + 30 - 50);
}
