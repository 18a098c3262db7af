# Sourced by project.sh and compose-down.sh: is the name of the Compose project this lab's? An empty volume has a label with
# the folder of the lab that uses the name. It is there also while nothing runs, and does not depend on .lab.
. scripts/containers.sh
name=$COMPOSE_PROJECT_NAME
marker=${name}_mtls-lab
listed() { # lines as a list of three at most, without what would move a cursor
    LC_ALL=C tr -d '\001-\011\013-\037\177' |
        awk 'NR <= 3 { printf "%s%s", sep, $0; sep = ", " } END { if (NR > 3) printf " and %d more", NR - 3 }'
}
strangers() { # containers of others with the project's name: NAME of FOLDER
    named_like_ours '{{.Names}} of {{.Label "com.docker.compose.project.working_dir"}}' -a | sed -n 's/^theirs //p' | listed
}
owner() { docker volume inspect --format '{{index .Labels "test.mtls-lab.folder"}}' "$marker" 2>/dev/null || true; }
made_here() { # without an owner: what `docker compose` made in this folder, or an earlier version of the lab, which left a mark
    [ -n "$(containers '{{.ID}}' -a)" ] || [ -e .lab/images-ca-server-client ]
}
is_ours() {
    case $(owner) in "$lab_folder") ;; '') made_here ;; *) false ;; esac
}
left_by_others() { # volumes and images under the name while no lab owns it; images of the lab have the user 10001
    {
        docker volume ls --format 'the volume {{.Name}}' --filter "label=com.docker.compose.project=$name"
        # shellcheck disable=SC2046
        docker image inspect --format '{{.Config.User}} the image {{join .RepoTags ","}}' \
            $(image_of $(sh scripts/every-profile.sh config --services)) 2>/dev/null | sed -n '/^10001:10001 /!s/^[^ ]* //p' | sort -u
    } | listed
}
claim() {
    docker volume create --label "test.mtls-lab.folder=$lab_folder" "$marker" >/dev/null && [ "$(owner)" = "$lab_folder" ] &&
        rm -f .lab/images-*
}
