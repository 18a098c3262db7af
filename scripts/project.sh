#!/bin/sh
# project.sh: make sure that the name of the Compose project is this lab's, before anything is done under it.
# project.sh take-over: take the name, the volumes and the images over from a lab whose folder is gone.
. scripts/error.sh
name=$COMPOSE_PROJECT_NAME
what="could not use the project name '$name'"
case $name in
'') error "could not name the Compose project" "the folder's name has no letter from a to z and no digit" "make up COMPOSE_PROJECT_NAME=mtls-lab" ;;
*[!a-z0-9_-]*) error "$what" "a project's name has a-z, 0-9, _ and - only" "make up COMPOSE_PROJECT_NAME=mtls-lab" ;;
esac
. scripts/ownership.sh
cure="make up COMPOSE_PROJECT_NAME=$name-2"
remark="Another name is needed with each command, or as a line in .env"
owner=$(owner)
if [ "$1" = take-over ]; then
    [ -n "$owner" ] && [ ! -d "$owner" ] || error "could not take the project name '$name' over" "no lab whose folder is gone has it" "make up"
    ids=$(docker ps -aq --filter "label=com.docker.compose.project=$name" --filter "label=com.docker.compose.project.working_dir=$owner")
    # shellcheck disable=SC2086
    [ -z "$ids" ] || docker rm -f $ids >/dev/null
    docker volume rm "$marker" >/dev/null && owner=
    claim
    exit
fi
if [ -n "$owner" ] && [ "$owner" != "$lab_folder" ] && [ ! -d "$owner" ]; then
    error "$what" "a lab whose folder is gone uses it: $owner. $remark" \
        "COMPOSE_PROJECT_NAME=$name sh scripts/project.sh take-over && make up COMPOSE_PROJECT_NAME=$name"
fi
others=$(strangers)
[ -z "$others" ] || error "$what" "containers of another project use it: $others. $remark" "$cure"
[ "$owner" != "$lab_folder" ] || exit 0
[ -z "$owner" ] || error "$what" "the lab in $owner uses it. $remark" "$cure"
if ! made_here; then
    left=$(left_by_others)
    [ -z "$left" ] || error "$what" "this lab did not create what exists under it: $left. If an earlier copy of this lab did: docker compose -p $name create ca && make up COMPOSE_PROJECT_NAME=$name. $remark" "$cure"
fi
claim || error "$what" "its volume $marker could not be created for this folder. $remark" "$cure"
