//! Rules of channels: origin, soak, freeze, signatures, floor.

use cairn_ledger::authority::{Authority, ChannelRules, Freeze, Grant};
use cairn_ledger::entry::{Entry, Kind};
use cairn_ledger::fold::{Outcome, Why};
use cairn_ledger::key::Signer as _;

use super::{Table, why};
use crate::support::*;

fn refused(outcome: &Outcome) -> Option<Why> {
    why(outcome, "prod").map(|(why, _)| why)
}

/// What comes to prod must have been on staging for an hour.
fn soaking() -> Table {
    let mut table = Table::single();
    table.rule(ChannelRules {
        from: Some(channel("staging")),
        soak: Some(3600.try_into().unwrap()),
        ..ChannelRules::default()
    });
    table
}

/// Version `name` on staging, from `at` on.
fn put_on_staging(table: &mut Table, kind: Kind, name: &str, at: &str) {
    let mut entry = table.moving(kind, name, name, &[("staging", table.after("staging"))]);
    entry.at = at.parse().unwrap();
    assert!(table.add(&entry, &[&key(1)]).1.stands());
}

/// A new version.
fn show(table: &mut Table, name: &str, at: &str) {
    put_on_staging(table, Kind::Release, name, at);
}

/// One that was released before.
fn show_again(table: &mut Table, name: &str, at: &str) {
    put_on_staging(table, Kind::Promote, name, at);
}

#[test]
pub(super) fn what_moves_forward_must_have_been_where_it_must_come_from() {
    let mut table = Table::single();
    table.rule(ChannelRules {
        from: Some(channel("staging")),
        ..ChannelRules::default()
    });
    let (_, outcome) = table.release("1", "1", &[("prod", None)]);
    assert_eq!(refused(&outcome), Some(Why::NotFrom));
    let staging = table.moving(Kind::Promote, "1", "1", &[("staging", None)]);
    assert!(table.add(&staging, &[&key(1)]).1.stands());
    assert!(table.promote_at("1", "2026-11-21T10:00:00Z").stands());
}

#[test]
pub(super) fn what_moves_forward_must_have_been_there_for_long_enough() {
    let mut table = soaking();
    show(&mut table, "1", "2026-11-21T10:00:00Z");
    // While it is shown, up to the entry's own time.
    assert_eq!(
        refused(&table.promote_at("1", "2026-11-21T10:59:59Z")),
        Some(Why::TooEarly)
    );
    // The same digest once more is no break.
    show_again(&mut table, "1", "2026-11-21T10:30:00Z");
    assert!(table.promote_at("1", "2026-11-21T11:00:00Z").stands());
    // After it left: the longest stay, and two short ones are no long one.
    show(&mut table, "2", "2026-11-21T11:00:00Z");
    show(&mut table, "3", "2026-11-21T11:40:00Z");
    show(&mut table, "2b", "2026-11-21T12:00:00Z");
    show_again(&mut table, "2", "2026-11-21T12:10:00Z");
    assert_eq!(
        refused(&table.promote_at("2", "2026-11-21T12:50:00Z")),
        Some(Why::TooEarly)
    );
    assert!(table.promote_at("2", "2026-11-21T13:10:00Z").stands());
    show(&mut table, "4", "2026-11-22T00:00:00Z");
    assert!(
        table.promote_at("1", "2026-11-22T00:00:00Z").stands(),
        "it was there for an hour"
    );
}

#[test]
pub(super) fn in_a_freeze_only_rollbacks_move() {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    table.release("3", "3", &[]);
    table.rule(ChannelRules {
        freeze: vec![Freeze {
            from: "2026-12-24T00:00:00Z".parse().unwrap(),
            until: "2026-12-27T00:00:00Z".parse().unwrap(),
        }],
        ..ChannelRules::default()
    });
    for at in [
        "2026-12-24T00:00:00Z",
        "2026-12-25T00:00:00Z",
        "2026-12-27T00:00:00Z",
    ] {
        assert_eq!(refused(&table.promote_at("3", at)), Some(Why::Frozen), "{at}");
    }
    let mut back = table.moving(Kind::Rollback, "1", "1", &[("prod", table.after("prod"))]);
    back.hold = Some(false);
    back.at = "2026-12-25T00:00:00Z".parse().unwrap();
    assert!(table.add(&back, &[&key(1)]).1.stands());
    assert!(table.promote_at("3", "2026-12-27T00:00:01Z").stands());
}

#[test]
pub(super) fn the_floor_binds_in_either_direction() {
    let mut table = Table::single();
    table.released(&["1", "2", "3"]);
    table.rule(ChannelRules {
        floor: Some(version("2")),
        ..ChannelRules::default()
    });
    assert_eq!(
        refused(&table.rollback("1", "1", table.after("prod")).1),
        Some(Why::BelowFloor)
    );
    // It held the channel all the same.
    let mut forward = table.moving(Kind::Promote, "1", "1", &[("prod", table.after("prod"))]);
    forward.resume = true;
    assert_eq!(refused(&table.add(&forward, &[&key(1)]).1), Some(Why::BelowFloor));
    assert!(table.rollback("2", "2", table.after("prod")).1.stands());
}

/// One key of a machine, two of people; prod needs one of a person.
fn approved() -> Table {
    let mut authority = Authority::single(key(1).key().clone());
    for (seed, until) in [(2, None), (3, Some("2026-11-21T09:00:00Z".parse().unwrap()))] {
        authority.keys.push(Grant {
            groups: vec!["human".parse().unwrap()],
            until,
            ..Grant::owner(key(seed).key().clone())
        });
    }
    let mut table = Table::new(authority);
    let requires = [("human".parse().unwrap(), 1.try_into().unwrap())].into();
    let (_, outcome) = table.rule(ChannelRules {
        requires,
        ..ChannelRules::default()
    });
    assert!(outcome.stands());
    table
}

#[test]
pub(super) fn forward_moves_and_resumes_need_the_signatures_that_are_required() {
    let mut table = approved();
    let release = table.moving(Kind::Release, "1", "1", &[("prod", None), ("staging", None)]);
    let outcome = table.add(&release, &[&key(1)]).1;
    assert_eq!(refused(&outcome), Some(Why::Unapproved));
    assert!(
        outcome.on_channel(&channel("staging")).unwrap().stands(),
        "each alone"
    );
    let promote = |table: &mut Table| table.moving(Kind::Promote, "1", "1", &[("prod", None)]);
    let entry = promote(&mut table);
    let expired = table.add(&entry, &[&key(1), &key(3)]).1;
    assert_eq!(
        refused(&expired),
        Some(Why::Unapproved),
        "a key that is over counts for nothing"
    );
    let entry = promote(&mut table);
    assert!(table.add(&entry, &[&key(1), &key(2)]).1.stands());
    table.release("2", "2", &[]);
    // A rollback needs nobody else; the way forward again does.
    let (_, outcome) = table.rollback("2", "2", table.after("prod"));
    assert!(outcome.stands());
    let resume = |table: &mut Table| Entry {
        version: None,
        digest: None,
        ..table.moving(Kind::Resume, "1", "1", &[("prod", table.after("prod"))])
    };
    let entry = resume(&mut table);
    assert_eq!(refused(&table.add(&entry, &[&key(1)]).1), Some(Why::Unapproved));
    let entry = resume(&mut table);
    assert!(table.add(&entry, &[&key(2)]).1.stands());
}

#[test]
fn two_short_stays_are_no_long_one() {
    let mut table = soaking();
    show(&mut table, "1", "2026-11-21T10:00:00Z");
    show(&mut table, "2", "2026-11-21T10:40:00Z");
    show_again(&mut table, "1", "2026-11-21T11:00:00Z");
    show(&mut table, "3", "2026-11-21T11:40:00Z");
    assert_eq!(
        refused(&table.promote_at("1", "2026-11-21T13:00:00Z")),
        Some(Why::TooEarly)
    );
}
