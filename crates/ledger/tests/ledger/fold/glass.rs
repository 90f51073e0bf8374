//! Breaking the glass: a key that is not listed, where the rules let it; and the ratification afterwards.

use cairn_ledger::authority::{Authority, ChannelRules, Grant};
use cairn_ledger::entry::{Entry, EntryName, Kind};
use cairn_ledger::fold::{Outcome, Subject, Why};
use cairn_ledger::key::Signer as _;

use super::{Table, why, why_void};
use crate::support::*;

/// prod shows 2 after 1, and may be rolled back and released to by whom nobody knows.
fn table() -> Table {
    let mut table = Table::single();
    table.released(&["1", "2"]);
    let requires = [("human".parse().unwrap(), 1.try_into().unwrap())].into();
    let (_, outcome) = table.rule(ChannelRules {
        glass: vec![Kind::Rollback, Kind::Release],
        requires,
        ..ChannelRules::default()
    });
    assert!(outcome.stands());
    table
}

fn broken(entry: Entry) -> Entry {
    Entry {
        glass: Some(key(7).key().clone()),
        ..entry
    }
}

fn rollback(table: &mut Table) -> (EntryName, Outcome) {
    let mut entry = table.moving(Kind::Rollback, "1", "1", &[("prod", table.after("prod"))]);
    entry.hold = Some(true);
    table.add(&broken(entry), &[&key(7)])
}

fn ratify(table: &mut Table, name: EntryName, by: u8) -> (EntryName, Outcome) {
    let mut entry = table.entry(Kind::Ratify);
    entry.ratifies = Some(name);
    table.add(&entry, &[&key(by)])
}

#[test]
pub(super) fn an_unlisted_key_does_what_the_rules_of_the_channel_let_it() {
    let mut table = table();
    let (name, outcome) = rollback(&mut table);
    assert!(outcome.stands() && table.shows("prod") == "1" && table.is_held());
    let glass = &table.state().glass[&name];
    assert_eq!((glass.key, glass.ratified), (key(7).key().fingerprint(), None));
    assert_eq!(
        table.state().channels[&channel("prod")].hold.as_ref().unwrap().by,
        glass.key
    );
    // A kind or a channel that the rules do not name.
    let promote = table.moving(Kind::Promote, "2", "2", &[("prod", table.after("prod"))]);
    let (void, outcome) = table.add(&broken(promote), &[&key(7)]);
    assert_eq!(why(&outcome, "prod"), Some((Why::NotAllowed, None)));
    assert!(
        !table.state().glass.contains_key(&void),
        "without effect there is no mark"
    );
    // Without the mark, or with the mark of another key, nobody knows it.
    let mut plain = table.moving(Kind::Rollback, "2", "2", &[("prod", table.after("prod"))]);
    plain.hold = Some(false);
    assert!(!table.add(&plain, &[&key(7)]).1.stands());
    assert!(!table.add(&broken(plain), &[&key(8)]).1.stands());
}

#[test]
pub(super) fn an_unlisted_key_binds_a_version_only_for_channels_that_let_it() {
    let mut table = table();
    let on_version = |outcome: &Outcome| outcome.on(&Subject::Version(version("3"))).unwrap().stands();
    for to in [&[][..], &[("prod", table.after("prod")), ("staging", None)]] {
        let entry = table.moving(Kind::Release, "3", "3", to);
        assert!(!on_version(&table.add(&broken(entry), &[&key(7)]).1), "{to:?}");
    }
    // Required signatures do not bind it: nobody else is there. A hold does.
    let entry = table.moving(Kind::Release, "3", "3", &[("prod", table.after("prod"))]);
    let outcome = table.add(&broken(entry), &[&key(7)]).1;
    assert!(outcome.stands() && table.shows("prod") == "3");
    rollback(&mut table);
    let entry = table.moving(Kind::Release, "4", "4", &[("prod", table.after("prod"))]);
    let outcome = table.add(&broken(entry), &[&key(7)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::Held);
}

#[test]
pub(super) fn the_mark_does_nothing_for_a_key_that_is_listed() {
    let mut table = table();
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant {
        roles: Vec::new(),
        ..Grant::owner(key(7).key().clone())
    });
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority);
    assert!(table.add(&keys, &[&key(1)]).1.stands());
    let (name, outcome) = rollback(&mut table);
    assert!(outcome.void().all(|(_, why, _)| why == Why::NotAllowed) && !outcome.stands());
    assert!(!table.state().glass.contains_key(&name));
}

#[test]
pub(super) fn what_an_unlisted_key_did_is_ratified_once_and_by_another() {
    let mut table = table();
    let (name, _) = rollback(&mut table);
    let other = table.after("prod").unwrap();
    assert_eq!(
        why_void(&ratify(&mut table, name, 7).1),
        Some((Why::NotAllowed, None))
    );
    let genesis = table.state().ledger;
    assert_eq!(
        why_void(&ratify(&mut table, genesis, 1).1),
        Some((Why::NoGlass, None))
    );
    let (ratified, outcome) = ratify(&mut table, other, 1);
    assert!(outcome.stands());
    assert_eq!(table.state().glass[&name].ratified, Some(ratified));
    let again = why_void(&ratify(&mut table, name, 1).1);
    assert_eq!(again, Some((Why::Ratified, Some(ratified))));
}

#[test]
fn nobody_ratifies_what_they_did_themselves_also_when_they_are_listed_since() {
    let mut table = table();
    let (name, _) = rollback(&mut table);
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant::owner(key(7).key().clone()));
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority);
    assert!(table.add(&keys, &[&key(1)]).1.stands());
    assert_eq!(
        why_void(&ratify(&mut table, name, 7).1),
        Some((Why::NotAllowed, None))
    );
}
