//! Keys and rules: who may do what, from which entry on.

use cairn_ledger::authority::{Authority, ChannelRules, Grant, Role};
use cairn_ledger::entry::Kind;
use cairn_ledger::fold::{Subject, Verdict, Why};
use cairn_ledger::key::Signer as _;

use super::{Table, why, why_void};
use crate::support::*;

#[test]
pub(super) fn keys_change_under_the_threshold_and_each_names_the_one_before() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant::owner(key(2).key().clone()));
    authority.threshold = 2;
    let mut table = Table::new(authority.clone());
    authority.keys.pop();
    authority.threshold = 1;
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority.clone());
    let alone = table.add(&keys, &[&key(1)]).1;
    assert_eq!(
        alone.on(&Subject::Keys),
        Some(Verdict::Void {
            why: Why::NotAllowed,
            overtaken_by: None
        })
    );
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority.clone());
    let mut beside = table.entry(Kind::Keys);
    beside.authority = Some(authority);
    let (first, outcome) = table.add(&keys, &[&key(1), &key(2)]);
    assert!(outcome.stands());
    let outcome = table.add(&beside, &[&key(1), &key(2)]).1;
    let overtaken = Verdict::Void {
        why: Why::Overtaken,
        overtaken_by: Some(first),
    };
    assert_eq!(outcome.on(&Subject::Keys), Some(overtaken));
    let removed = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    let outcome = table.add(&removed, &[&key(2)]).1;
    assert_eq!(why(&outcome, "prod").unwrap().0, Why::NotAllowed);
}

#[test]
pub(super) fn an_expired_key_and_a_channel_of_others_are_void() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant {
        roles: vec![Role {
            channels: Some(vec![channel("staging")]),
            ..Role::owner()
        }],
        until: Some("2026-11-21T10:00:00Z".parse().unwrap()),
        ..Grant::owner(key(2).key().clone())
    });
    let mut table = Table::new(authority);
    let mut entry = table.moving(Kind::Release, "1", "1", &[("prod", None), ("staging", None)]);
    let outcome = table.add(&entry, &[&key(2)]).1;
    assert_eq!(why(&outcome, "prod"), Some((Why::NotAllowed, None)));
    assert!(outcome.on_channel(&channel("staging")).unwrap().stands());
    entry.version = Some(version("2"));
    entry.at = "2026-11-21T10:00:01Z".parse().unwrap();
    let outcome = table.add(&entry, &[&key(2)]).1;
    assert!(outcome.void().all(|(_, why, _)| why == Why::NotAllowed) && !outcome.stands());
}

#[test]
pub(super) fn a_repetition_and_an_unknown_kind_have_no_effect() {
    let mut table = Table::single();
    let entry = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    let (name, _) = table.add(&entry, &[&key(1)]);
    let repeated = Verdict::Void {
        why: Why::Repetition,
        overtaken_by: Some(name),
    };
    assert_eq!(
        table.add(&entry, &[&key(1)]).1.on(&Subject::Entry),
        Some(repeated)
    );
    let unknown = table.entry(Kind::Unknown("herald".to_owned()));
    let outcome = table.add(&unknown, &[&key(1)]).1;
    assert_eq!(outcome.void().next().unwrap().1, Why::UnknownKind);
}

#[test]
pub(super) fn a_role_for_what_was_shown_moves_to_nothing_else() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant {
        roles: vec![Role {
            shown: true,
            ..Role::owner()
        }],
        ..Grant::owner(key(2).key().clone())
    });
    let mut table = Table::new(authority);
    table.release("0", "0", &[]);
    table.released(&["1", "2"]);
    let mut back = table.moving(Kind::Rollback, "0", "0", &[("prod", table.after("prod"))]);
    back.hold = Some(true);
    let outcome = table.add(&back, &[&key(2)]).1;
    assert_eq!(why(&outcome, "prod"), Some((Why::NotAllowed, None)));
    // It may hold and resume all the same: that shows nothing new.
    assert!(outcome.on(&Subject::Hold(channel("prod"))).unwrap().stands());
    let resume = table.moving(Kind::Resume, "0", "0", &[("prod", table.after("prod"))]);
    let resume = cairn_ledger::Entry {
        version: None,
        digest: None,
        ..resume
    };
    assert!(table.add(&resume, &[&key(2)]).1.stands());
    let mut back = table.moving(Kind::Rollback, "1", "1", &[("prod", table.after("prod"))]);
    back.hold = Some(false);
    assert!(table.add(&back, &[&key(2)]).1.stands());
    // What is on no channel, no channel has shown.
    let bind = table.moving(Kind::Release, "3", "1", &[]);
    assert_eq!(
        why_void(&table.add(&bind, &[&key(2)]).1),
        Some((Why::NotAllowed, None))
    );
}

#[test]
pub(super) fn keys_that_nobody_could_change_again_are_void() {
    let mut table = Table::single();
    let mut authority = Authority::single(key(1).key().clone());
    authority.threshold = 2;
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority);
    assert_eq!(
        why_void(&table.add(&keys, &[&key(1)]).1),
        Some((Why::UnusableKeys, None))
    );
    assert_eq!(table.state().authority.threshold, 1);
}

#[test]
pub(super) fn rules_that_say_nothing_sensible_are_void() {
    let mut table = Table::single();
    let (_, outcome) = table.rule(ChannelRules {
        soak: Some(60.try_into().unwrap()),
        ..ChannelRules::default()
    });
    assert_eq!(why_void(&outcome), Some((Why::UnusableRules, None)));
    assert!(table.state().rules.channels.is_empty());
}

#[test]
pub(super) fn the_recovery_key_states_keys_and_nothing_else() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.recovery = Some(key(9).key().clone());
    let mut table = Table::new(authority);
    let release = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    assert!(!table.add(&release, &[&key(9)]).1.stands());
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(Authority::single(key(2).key().clone()));
    assert!(table.add(&keys, &[&key(9)]).1.stands());
    let release = table.moving(Kind::Release, "1", "1", &[("prod", None)]);
    assert!(table.add(&release, &[&key(2)]).1.stands());
}

#[test]
fn whoever_lists_keys_is_counted_once_however_often_it_signs() {
    let mut authority = Authority::single(key(1).key().clone());
    authority.keys.push(Grant::owner(key(2).key().clone()));
    authority.threshold = 2;
    let mut table = Table::new(authority.clone());
    let mut keys = table.entry(Kind::Keys);
    keys.authority = Some(authority);
    let outcome = table.add(&keys, &[&key(1), &key(1)]).1;
    let refused = Verdict::Void {
        why: Why::NotAllowed,
        overtaken_by: None,
    };
    assert_eq!(outcome.on(&Subject::Keys), Some(refused));
}
