//! Versions and the kinds beside the moves: yank, switch, adopt, record, prune.

use cairn_ledger::entry::{Kind, Move};
use cairn_ledger::fold::{Subject, Verdict, Why};
use cairn_ledger::state::Standing;

use super::{Table, why, why_void};
use crate::support::*;

#[test]
pub(super) fn a_version_is_bound_once_by_who_could_see_and_contested_by_who_could_not() {
    let mut table = Table::single();
    let (first, _) = table.release("1", "a", &[("prod", None)]);
    // Names the first binding, so its author has seen it.
    let (_, outcome) = table.release("1", "b", &[("prod", Some(first))]);
    let on_version = Subject::Version(version("1"));
    let bound = Verdict::Void {
        why: Why::VersionBound,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&on_version), Some(bound));
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::VersionBound);
    let (_, outcome) = table.release("1", "c", &[("staging", None)]);
    let contested = Verdict::Void {
        why: Why::Contested,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&on_version), Some(contested));
    assert_eq!(
        table.state().versions[&version("1")].standing(),
        Standing::Contested
    );
    let promote = table.moving(Kind::Promote, "1", "a", &[("blue", None)]);
    assert_eq!(
        why(&table.add(&promote, &[&key(1)]).1, "blue").unwrap().0,
        Why::Contested
    );
    let yank = table.moving(Kind::Yank, "1", "c", &[]);
    assert!(table.add(&yank, &[&key(1)]).1.stands());
    let promote = table.moving(Kind::Promote, "1", "a", &[("blue", None)]);
    assert!(table.add(&promote, &[&key(1)]).1.stands());
}

#[test]
pub(super) fn a_move_to_a_barred_version_is_void_and_the_way_back_passes_it_by() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    let yank = table.moving(Kind::Yank, "2", "2", &[]);
    let (yanked, outcome) = table.add(&yank, &[&key(1)]);
    assert!(outcome.stands());
    assert_eq!(table.state().way_back(&channel("prod")).unwrap().label(), "1");
    let promote = table.moving(Kind::Promote, "2", "2", &[("blue", None)]);
    assert_eq!(
        why(&table.add(&promote, &[&key(1)]).1, "blue"),
        Some((Why::Yanked, Some(yanked)))
    );
    let (_, outcome) = table.rollback("2", "2", table.after("prod"));
    assert_eq!(why(&outcome, "prod"), Some((Why::Yanked, Some(yanked))));
}

#[test]
pub(super) fn a_switch_takes_what_the_slot_shows_and_pushes_what_was_live() {
    let mut table = Table::single();
    table.released(&["1"]);
    let (slot, _) = table.release("2", "2", &[("green", None)]);
    let mut switch = table.moving(Kind::Switch, "2", "2", &[("prod", table.after("prod"))]);
    switch.from = Some(Move {
        channel: channel("green"),
        after: Some(slot),
    });
    assert!(table.add(&switch, &[&key(1)]).1.stands());
    assert_eq!(
        (table.shows("prod").as_str(), table.trail()),
        ("2", vec!["1".to_owned()])
    );
    table.release("3", "3", &[("green", Some(slot))]);
    let mut stale = table.moving(Kind::Switch, "2", "2", &[("blue", None)]);
    stale.from = Some(Move {
        channel: channel("green"),
        after: Some(slot),
    });
    assert_eq!(
        why(&table.add(&stale, &[&key(1)]).1, "blue").unwrap().0,
        Why::SlotMoved
    );
}

#[test]
pub(super) fn an_adoption_is_like_a_release() {
    let mut table = Table::single();
    let adopt = table.moving(Kind::Adopt, "1", "1", &[("prod", None)]);
    let (first, outcome) = table.add(&adopt, &[&key(1)]);
    assert!(outcome.stands() && table.shows("prod") == "1");
    // Without a version it only moves, and the digest need not be known.
    let mut adopt = table.moving(Kind::Adopt, "0", "untagged", &[("prod", Some(first))]);
    adopt.version = None;
    assert!(table.add(&adopt, &[&key(1)]).1.stands());
    assert_eq!(table.trail(), ["1"]);
    let again = table.moving(Kind::Adopt, "1", "other", &[("prod", table.after("prod"))]);
    let outcome = table.add(&again, &[&key(1)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::VersionBound);
    table.rollback("1", "1", table.after("prod"));
    let held = table.moving(Kind::Adopt, "2", "2", &[("prod", table.after("prod"))]);
    let outcome = table.add(&held, &[&key(1)]).1;
    assert_eq!(
        why(&outcome, "prod").unwrap().0,
        Why::Held,
        "it is a forward move"
    );
    assert!(outcome.on(&Subject::Version(version("2"))).unwrap().stands());
}

#[test]
pub(super) fn a_record_cuts_the_trail_where_the_digest_is_on_it_else_it_pushes() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    // `crane tag` back to the one before: a rollback by hand.
    let (_, outcome) = table.record("2");
    assert!(outcome.stands());
    assert_eq!(table.trail(), ["1"]);
    assert!(!table.is_held(), "nobody asked for a hold");
    // Something that nobody knows: what was shown is the way back.
    let (_, outcome) = table.record("hotfix");
    assert!(outcome.stands());
    assert_eq!(table.trail().len(), 2);
    let state = table.state();
    let hotfix = cairn_oci::Digest::of(b"hotfix");
    assert_eq!(state.shows(&channel("prod")).unwrap().digest, hotfix);
    assert!(state.channels[&channel("prod")].has_wanted(&hotfix));
}

#[test]
pub(super) fn a_record_states_a_fact_that_no_hold_and_no_rule_keeps_away() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    let prod = serde_json::from_str(
        r#"{"from":"staging","soak":60,"requires":{"human":1},"floor":"2",
            "freeze":[{"from":"2026-01-01T00:00:00Z","until":"2027-01-01T00:00:00Z"}]}"#,
    );
    assert!(table.rule(prod.unwrap()).1.stands());
    table.rollback("2", "2", table.after("prod"));
    let last = table.after("prod");
    assert!(table.record("hotfix").1.stands());
    assert!(table.is_held(), "the hold stays");
    let (_, outcome) = table.record("1");
    assert_eq!(
        why(&outcome, "prod").unwrap().0,
        Why::BelowFloor,
        "the floor binds"
    );
    let mut stale = table.moving(Kind::Record, "0", "2", &[("prod", last)]);
    stale.version = None;
    let outcome = table.add(&stale, &[&key(1)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::Overtaken);
    let wrong = table.moving(Kind::Record, "1", "hotfix", &[("prod", table.after("prod"))]);
    let outcome = table.add(&wrong, &[&key(1)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::UnknownVersion);
    let yank = table.moving(Kind::Yank, "2", "2", &[]);
    table.add(&yank, &[&key(1)]);
    assert_eq!(why(&table.record("2").1, "prod").unwrap().0, Why::Yanked);
}

#[test]
pub(super) fn a_pruned_image_is_no_way_back_until_it_is_released_again() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    let shown = table.after("prod");
    assert_eq!(why_void(&table.prune("3").1), Some((Why::Shown, shown)));
    assert_eq!(why_void(&table.prune("4").1), Some((Why::UnknownVersion, None)));
    let (pruned, outcome) = table.prune("2");
    assert!(outcome.stands());
    assert_eq!(why_void(&table.prune("2").1), Some((Why::Pruned, Some(pruned))));
    assert_eq!(table.state().way_back(&channel("prod")).unwrap().label(), "1");
    let (_, outcome) = table.rollback("2", "2", table.after("prod"));
    assert_eq!(why(&outcome, "prod"), Some((Why::Pruned, Some(pruned))));
    let promote = table.moving(Kind::Promote, "2", "2", &[("blue", None)]);
    let outcome = table.add(&promote, &[&key(1)]).1;
    assert_eq!(why(&outcome, "blue"), Some((Why::Pruned, Some(pruned))));
    // Rebuilt: the same version, the same digest.
    let (_, outcome) = table.release("2", "2", &[("blue", None)]);
    assert!(outcome.stands());
    assert!(table.state().pruned.is_empty() && table.shows("blue") == "2");
}

#[test]
fn a_switch_whose_slot_went_away_and_came_back_is_void() {
    let mut table = Table::single();
    table.released(&["1"]);
    let (seen, _) = table.release("2", "2", &[("green", None)]);
    let (left, _) = table.release("3", "3", &[("green", Some(seen))]);
    let back = table.moving(Kind::Promote, "2", "2", &[("green", Some(left))]);
    let (back, outcome) = table.add(&back, &[&key(1)]);
    assert!(outcome.stands() && table.shows("green") == "2");
    let mut switch = table.moving(Kind::Switch, "2", "2", &[("prod", table.after("prod"))]);
    switch.from = Some(Move {
        channel: channel("green"),
        after: Some(seen),
    });
    let outcome = table.add(&switch, &[&key(1)]).1;
    assert_eq!(why(&outcome, "prod"), Some((Why::SlotMoved, Some(back))));
}

#[test]
fn a_digest_is_barred_only_when_every_version_of_it_is() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    table.release("1.0", "1", &[]);
    let yank = |table: &mut Table, name: &str| {
        let yank = table.moving(Kind::Yank, name, "1", &[]);
        assert!(table.add(&yank, &[&key(1)]).1.stands());
    };
    yank(&mut table, "1");
    assert!(table.state().way_back(&channel("prod")).is_some());
    yank(&mut table, "1.0");
    assert!(table.state().way_back(&channel("prod")).is_none());
    let mut back = table.moving(Kind::Rollback, "1", "1", &[("prod", table.after("prod"))]);
    (back.version, back.hold) = (None, Some(false));
    assert_eq!(
        why(&table.add(&back, &[&key(1)]).1, "prod"),
        Some((Why::Yanked, None))
    );
}
