#!/bin/sh
# Make sure that the name of the Compose project is this lab's, before anything is done under it.
. scripts/error.sh
. scripts/ownership.sh
what="could not use the project name '$name'"
cure="make up COMPOSE_PROJECT_NAME=$name-2 (and so with each later command, or as a line in .env)"
[ -n "$name" ] || error "could not name the Compose project" "the folder's name has no letter from a to z and no digit" "make up COMPOSE_PROJECT_NAME=mtls-lab"
others=$(strangers)
[ -z "$others" ] || error "$what" "containers of another project have it: $others" "$cure"
owner=$(owner)
[ "$owner" != "$lab_folder" ] || exit 0
[ -z "$owner" ] || error "$what" "the lab in $owner has it" "$cure"
if ! made_here; then
    left=$(left_by_others)
    [ -z "$left" ] || error "$what" "this lab did not make what has it: $left" \
        "$cure; or, if an earlier copy of this lab made that: docker compose create ca && make up"
fi
claim || error "$what" "the lab in $(owner) has it" "$cure"
