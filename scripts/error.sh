# Sourced by the other scripts. error WHAT FACT CURE: say what could not be done, and the command that cures it.
error() {
    printf 'error: %s: %s\n  try: %s\n' "$(visible "$1")" "$(visible "$2")" "$(visible "$3")" >&2
    exit 2
}
# visible TEXT, with a ? for each character that a terminal takes for a command, or that changes what a reader sees
visible() (
    LC_ALL=C
    case $1 in
    *[!\ -~]*)
        printf %s "$1" | LC_ALL=C tr '\001-\010\013-\037\177' '?' |
            LC_ALL=C sed "$(printf 's/\302[\200-\237]/?/g; s/\342\200[\213-\217\250-\256]/?/g; s/\342\201[\240-\257]/?/g')"
        ;;
    *) printf %s "$1" ;;
    esac
)
# word TEXT PLACEHOLDER: TEXT as one word of a command that people paste. A text in which a shell, make or a terminal could
# read more than itself is not repeated: the placeholder is.
word() {
    case $1 in
    '' | *[\"\'\`\$\\]* | *[[:cntrl:]]*) printf %s "$2" && return ;;
    esac
    case $(visible "$1") in
    "$1") ;;
    *) printf %s "$2" && return ;;
    esac
    case $1 in
    *[!A-Za-z0-9_./:@%+=,-]*) printf "'%s'" "$1" ;;
    *) printf %s "$1" ;;
    esac
}
plain_venv() { # a virtual environment's path is part of PATH, and of commands that are printed
    case ${VENV-.venv} in
    '' | -* | *[\"\'\`\$\\\;\&\|\<\>\(\)\*\?\[\]\{\}\#\!:]* | *[[:space:][:cntrl:]]*)
        error "unusable VENV" "'$VENV' has characters that such a path can't have" "make up VENV=.venv" ;;
    esac
}
