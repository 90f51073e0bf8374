//! Moves: what pushes, what cuts, what holds, and who comes first.

use cairn_ledger::entry::{Kind, Move};
use cairn_ledger::fold::{Subject, Why};

use super::{Table, why};
use crate::support::*;

#[test]
pub(super) fn forward_moves_push_and_rollbacks_cut() {
    let mut table = Table::single();
    table.released(&["1", "2", "3", "4"]);
    assert_eq!(table.trail(), ["1", "2", "3"]);
    table.rollback("2", "2", table.after("prod"));
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("2", vec!["1".to_owned()])
    );
    assert!(table.is_held());
}

#[test]
pub(super) fn a_rollback_to_what_is_not_on_the_trail_leaves_the_trail() {
    let mut table = Table::single();
    table.release("0", "0", &[]);
    table.released(&["1", "2"]);
    table.rollback("0", "0", table.after("prod"));
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("0", vec!["1".to_owned()])
    );
}

#[test]
pub(super) fn the_first_of_two_moves_against_one_state_stands() {
    let mut table = Table::single();
    let first = table.released(&["1"])[0];
    let (second, _) = table.release("2", "2", &[("prod", Some(first))]);
    let (_, outcome) = table.release("3", "3", &[("prod", Some(first)), ("staging", None)]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(second))));
    assert!(
        outcome.on_channel(&channel("staging")).unwrap().stands(),
        "each effect alone"
    );
    assert_eq!(
        (table.shows("prod").as_str(), table.shows("staging").as_str()),
        ("2", "3")
    );
}

#[test]
pub(super) fn a_rollback_wins_over_a_forward_move_made_against_the_same_state() {
    let mut table = Table::single();
    let names = table.released(&["1", "2"]);
    table.release("3", "3", &[("prod", Some(names[1]))]);
    let (_, outcome) = table.rollback("1", "1", Some(names[1]));
    assert!(outcome.stands());
    assert_eq!((table.shows("prod").as_str(), table.trail().len()), ("1", 0));
}

#[test]
pub(super) fn a_rollback_that_is_overtaken_holds_all_the_same() {
    let mut table = Table::single();
    let names = table.released(&["1", "2", "3", "4"]);
    let (rollback, outcome) = table.rollback("1", "1", Some(names[1]));
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(names[3]))));
    assert!(outcome.on(&Subject::Hold(channel("prod"))).unwrap().stands());
    assert!(table.is_held() && table.shows("prod") == "4");
    let (_, outcome) = table.release("5", "5", &[("prod", Some(rollback))]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Held, Some(rollback))));
}

#[test]
pub(super) fn under_a_hold_only_what_comes_after_the_resume_moves() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    let (rollback, _) = table.rollback("1", "1", table.after("prod"));
    let mut resume = table.entry(Kind::Resume);
    resume.moves = vec![Move {
        channel: channel("prod"),
        after: Some(rollback),
    }];
    let (resumed, outcome) = table.add(&resume, &[&key(1)]);
    assert!(outcome.stands() && !table.is_held());
    let (_, outcome) = table.release("3", "3", &[("prod", Some(rollback))]);
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(resumed))));
    let (_, outcome) = table.release("4", "4", &[("prod", Some(resumed))]);
    assert!(outcome.stands());
    let mut again = table.entry(Kind::Resume);
    again.moves = vec![Move {
        channel: channel("prod"),
        after: table.after("prod"),
    }];
    assert_eq!(
        why(&table.add(&again, &[&key(1)]).1, "prod"),
        Some((Why::NotHeld, None))
    );
}

#[test]
pub(super) fn g12_a_clock_that_goes_back_changes_nothing() {
    let mut table = Table::single();
    table.released(&["1"]);
    let mut second = table.moving(Kind::Release, "2", "2", &[("prod", table.after("prod"))]);
    second.at = "2001-01-01T00:00:00Z".parse().unwrap();
    assert!(table.add(&second, &[&key(1)]).1.stands());
    assert_eq!(table.shows("prod"), "2");
}

#[test]
fn a_rollback_cuts_the_trail_at_the_last_place_of_its_target() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    for name in ["1", "3"] {
        assert!(table.promote_or_release(name).stands());
    }
    assert_eq!(table.trail(), ["1", "2", "1"]);
    table.rollback("1", "1", table.after("prod"));
    assert_eq!(table.trail(), ["1", "2"]);
}

#[test]
fn a_move_to_what_is_shown_already_pushes_nothing() {
    let mut table = Table::single();
    table.released(&["1"]);
    // The same image as another version: a move all the same.
    let (_, outcome) = table.release("1.0", "1", &[("prod", table.after("prod"))]);
    assert!(outcome.stands() && table.shows("prod") == "1.0");
    assert!(table.trail().is_empty());
    table.released(&["2"]);
    assert_eq!(table.trail(), ["1.0"]);
}

#[test]
fn a_resume_beside_a_second_rollback_lifts_no_hold() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    let (first, _) = table.rollback("2", "2", table.after("prod"));
    let (second, _) = table.rollback("1", "1", Some(first));
    let mut resume = table.entry(Kind::Resume);
    resume.moves = vec![Move {
        channel: channel("prod"),
        after: Some(first),
    }];
    let outcome = table.add(&resume, &[&key(1)]).1;
    assert_eq!(why(&outcome, "prod"), Some((Why::Overtaken, Some(second))));
    assert!(table.is_held());
}
