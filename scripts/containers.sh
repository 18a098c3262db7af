# Sourced by the scripts that look at this lab's containers. What the engine itself can say is not asked of Compose, which
# takes several times as long for each answer. COMPOSE_PROJECT_NAME comes from compose.mk.
containers() { # FORMAT OPTIONS: those of this lab that run, or with -a all, but for what `run` started
    docker ps --format "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter label=com.docker.compose.oneoff=False
}
services() { containers '{{.Label "com.docker.compose.service"}}' "$@"; } # OPTIONS
container() { containers '{{.ID}}' -a --filter "label=com.docker.compose.service=$1"; } # SERVICE
said_by() { # SERVICE OPTIONS
    id=$(container "$1")
    shift
    [ -z "$id" ] || docker logs "$@" "$id" 2>&1
}
image_of() { # SERVICE...: as Compose names what it builds
    for service in "$@"; do
        case $service in
        shell) echo "$COMPOSE_PROJECT_NAME-client" ;;
        *) echo "$COMPOSE_PROJECT_NAME-$service" ;;
        esac
    done
}
built() { # SERVICE...: are their images there? Compose is asked where docker-compose.override.yml may have named them.
    # shellcheck disable=SC2046
    docker image inspect $(image_of "$@") >/dev/null 2>&1 ||
        docker image inspect $(sh scripts/every-profile.sh config --images "$@" 2>/dev/null | sort -u) >/dev/null 2>&1
}
