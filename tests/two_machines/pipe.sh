#!/usr/bin/env bash
# The tests of user stores once more, with the source read by the real helper in a process of its own. Those that write at the source are
# left out: only its own machine does that.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." || exit
writes_at_the_source=(
    fence
    a_lost_store
    what_was_at_the_source_before_it_was_lost
    an_excluded_table_travels_and_is_empty_where
    what_an_earlier_build_left_is_named_and_removed
    a_store_whose_file_system_is_not_mounted
    a_store_that_was_moved_away_under_its_server
    # It counts what lies in the folder in which the helper remembers things, too.
    a_restored_state_is_compared_with_the_copy_of_now
    a_server_of_another_container_that_has_the_lost_store_open_is_seen
    what_is_given_back_has_the_owner_and_mode
)
skips=()
for name in "${writes_at_the_source[@]}"; do skips+=(--skip "$name"); done
CSBACKUP_TEST_OVER=pipe PROPTEST_CASES=${PROPTEST_CASES:-16} cargo test --quiet --test integration -- user_store:: pages:: "${skips[@]}"
