# Sourced by the scripts that look at this lab's containers. What the engine itself can say is not asked of Compose, which
# takes several times as long for each answer. COMPOSE_PROJECT_NAME comes from project-name.mk.
lab_folder=$(pwd -P)
separator=$(printf '\037') # not \001: bash 3.2, which is sh on macOS, does not split there
# Another project, or another copy of the lab, may have the same project name. The lab's containers are those that were made
# from the docker-compose.yml of this folder: Compose labels them with it.
named_like_ours() { # FORMAT OPTIONS: `ours` or `theirs`, and the format, of each container with the project's name
    labels="{{.Label \"com.docker.compose.project.working_dir\"}}$separator{{.Label \"com.docker.compose.project.config_files\"}}$separator"
    format=$labels$1
    shift
    docker ps "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --format "$format" |
        while IFS=$separator read -r folder files text; do
            whose=theirs
            case ",$files," in *",$folder/docker-compose.yml,"*) ! is_here "$folder" || whose=ours ;; esac
            printf '%s %s\n' $whose "$text"
        done
}
is_here() { [ "$1" = "$lab_folder" ] || [ "$(CDPATH='' cd -- "$1" 2>/dev/null && pwd -P)" = "$lab_folder" ]; } # FOLDER
containers() { # FORMAT OPTIONS: those of this lab that run, or with -a all, but for what `run` started
    named_like_ours "$@" --filter label=com.docker.compose.oneoff=False | sed -n 's/^ours //p'
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
