# Sourced by the other scripts. error WHAT FACT CURE: say what could not be done, and the command that cures it.
error() {
    printf 'error: %s: %s\n  try: %s\n' "$1" "$2" "$3" >&2
    exit 2
}
plain_venv() { # a virtual environment's path is part of PATH, and of commands that are printed
    case ${VENV-.venv} in
    '' | -* | *[\"\'\`\$\\\;\&\|\<\>\(\)\*\?\[\]\{\}\#\!:]* | *[[:space:][:cntrl:]]*)
        error "unusable VENV" "'$VENV' has characters that such a path can't have" "make up VENV=.venv" ;;
    esac
}
