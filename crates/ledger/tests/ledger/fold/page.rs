//! The table of docs/ledger-format.md has a test for each row, and the tests have a row.

use super::{chain, glass, kinds, moves, rules};

type Rule = (&'static str, fn());

/// How each row begins, and what tries it. Each of these is a test of its own too.
const RULES: [Rule; 32] = [
    (
        "An entry whose name came before",
        chain::a_repetition_and_an_unknown_kind_have_no_effect,
    ),
    (
        "An entry of a kind that the reader does not know",
        chain::a_repetition_and_an_unknown_kind_have_no_effect,
    ),
    (
        "An effect needs one signer",
        chain::an_expired_key_and_a_channel_of_others_are_void,
    ),
    (
        "A role with `shown`",
        chain::a_role_for_what_was_shown_moves_to_nothing_else,
    ),
    (
        "`keys` and `rules` need the threshold",
        chain::keys_change_under_the_threshold_and_each_names_the_one_before,
    ),
    (
        "The recovery key alone",
        chain::the_recovery_key_states_keys_and_nothing_else,
    ),
    (
        "A list of keys that cannot be used",
        chain::keys_that_nobody_could_change_again_are_void,
    ),
    (
        "Rules that cannot be used",
        chain::rules_that_say_nothing_sensible_are_void,
    ),
    (
        "A version is bound once",
        kinds::a_version_is_bound_once_by_who_could_see_and_contested_by_who_could_not,
    ),
    (
        "else the version is contested",
        kinds::a_version_is_bound_once_by_who_could_see_and_contested_by_who_could_not,
    ),
    (
        "A move stands only if",
        moves::the_first_of_two_moves_against_one_state_stands,
    ),
    (
        "except that a rollback wins",
        moves::a_rollback_wins_over_a_forward_move_made_against_the_same_state,
    ),
    (
        "A forward move pushes",
        moves::forward_moves_push_and_rollbacks_cut,
    ),
    (
        "A rollback cuts the trail",
        moves::a_rollback_to_what_is_not_on_the_trail_leaves_the_trail,
    ),
    (
        "A rollback with `hold`",
        moves::a_rollback_that_is_overtaken_holds_all_the_same,
    ),
    (
        "Under a hold",
        moves::under_a_hold_only_what_comes_after_the_resume_moves,
    ),
    (
        "`resume` lifts the hold",
        moves::under_a_hold_only_what_comes_after_the_resume_moves,
    ),
    (
        "`promote` and `rollback` need the version",
        kinds::a_move_to_a_barred_version_is_void_and_the_way_back_passes_it_by,
    ),
    (
        "`switch` needs the slot",
        kinds::a_switch_takes_what_the_slot_shows_and_pushes_what_was_live,
    ),
    (
        "`yank` bars",
        kinds::a_move_to_a_barred_version_is_void_and_the_way_back_passes_it_by,
    ),
    ("`adopt` is a release", kinds::an_adoption_is_like_a_release),
    (
        "`record` cuts the trail",
        kinds::a_record_cuts_the_trail_where_the_digest_is_on_it_else_it_pushes,
    ),
    (
        "`record` is stopped by neither",
        kinds::a_record_states_a_fact_that_no_hold_and_no_rule_keeps_away,
    ),
    (
        "`prune` says",
        kinds::a_pruned_image_is_no_way_back_until_it_is_released_again,
    ),
    (
        "Rule `from`",
        rules::what_moves_forward_must_have_been_where_it_must_come_from,
    ),
    (
        "Rule `soak`",
        rules::what_moves_forward_must_have_been_there_for_long_enough,
    ),
    ("Rule `freeze`", rules::in_a_freeze_only_rollbacks_move),
    (
        "Rule `requires`",
        rules::forward_moves_and_resumes_need_the_signatures_that_are_required,
    ),
    ("Rule `floor`", rules::the_floor_binds_in_either_direction),
    (
        "Rule `glass`",
        glass::an_unlisted_key_does_what_the_rules_of_the_channel_let_it,
    ),
    (
        "An unlisted key binds a version",
        glass::an_unlisted_key_binds_a_version_only_for_channels_that_let_it,
    ),
    (
        "`ratify` accepts",
        glass::what_an_unlisted_key_did_is_ratified_once_and_by_another,
    ),
];

#[test]
fn the_table_of_the_page_and_the_tests_are_the_same() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ledger-format.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| rule | example |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|row| row.trim_start_matches("| "))
        .collect();
    for (row, (begins, _)) in rows.iter().zip(&RULES) {
        assert!(
            row.starts_with(begins),
            "the page says\n  {row}\nwhere the tests have\n  {begins}"
        );
    }
    assert_eq!(rows.len(), RULES.len());
    for (_, example) in RULES {
        example();
    }
}
