#!/bin/sh
# Print the runtime to use: `compose` where a Docker engine and Compose answer, else `local`.
# With --why, print what is missing instead, and exit 1, or nothing and 0.
answers() { # a command, which may hang: at most five seconds
    "$@" >/dev/null 2>&1 &
    pid=$!
    tenths=0
    while kill -0 $pid 2>/dev/null; do
        tenths=$((tenths + 1))
        [ $tenths -gt 50 ] && kill $pid 2>/dev/null && return 1
        sleep 0.1
    done
    wait $pid
}
missing() {
    command -v docker >/dev/null || { echo "docker is not installed"; return; }
    answers docker version || { echo "no Docker engine answers"; return; }
    version=$(docker compose version --short 2>/dev/null) || { echo "Docker has no Compose plugin"; return; }
    version=${version#v}
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%.*}
    [ "$major" -gt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -ge 20 ]; } || echo "Docker Compose $version is older than 2.20"
}
fact=$(missing)
if [ "$1" = --why ]; then
    echo "$fact"
    [ -z "$fact" ]
elif [ -z "$fact" ]; then echo compose; else echo local; fi
