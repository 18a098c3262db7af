#!/bin/sh
# compose-down.sh [clean]: remove the lab's containers and networks, and with clean its volumes and images. What others have
# under the same project name stays.
set -e
. scripts/error.sh
. scripts/ownership.sh
others=$(strangers)
if [ -z "$others" ] && is_ours; then
    if [ "$1" = clean ]; then
        sh scripts/every-profile.sh down --volumes --rmi local --remove-orphans
        docker volume rm -f "$marker" >/dev/null
    else
        sh scripts/every-profile.sh down
    fi
    exit
fi
# Compose would take what has the name for the lab's. So containers are removed by their ids, volumes by their names.
ours=no
! is_ours || ours=yes # what follows removes the containers that may tell
ids=$(named_like_ours '{{.ID}}' -a | sed -n 's/^ours //p')
# shellcheck disable=SC2086
[ -z "$ids" ] || { docker stop $ids && docker rm -v $ids; } >/dev/null
if [ $ours = no ]; then
    others=${others:-$(left_by_others)}
    [ -z "$others" ] || [ -n "$ids" ] || echo "nothing with the project name '$name' was removed: this lab did not make $others" >&2
    exit 0
fi
echo "containers of another project have the name '$name', and stay: $others" >&2
[ "$1" = clean ] || exit 0
kept=
for volume in $(sh scripts/every-profile.sh config --volumes); do
    for found in $(docker volume ls -q --filter "label=com.docker.compose.project=$name" --filter "label=com.docker.compose.volume=$volume"); do
        [ "$found" = "${name}_$volume" ] || continue # another project gave it a name of its own
        docker volume rm "$found" >/dev/null 2>&1 || kept="$kept $found"
    done
done
[ -z "$kept" ] || error "could not remove all volumes" "others use$kept" "docker ps -a --filter volume=${kept##* }, and make clean when it lists nothing"
docker volume rm -f "$marker" >/dev/null
