# Sourced by the other scripts. error WHAT FACT CURE: say what could not be done, and the command that cures it.
error() {
    printf 'error: %s: %s\n  try: %s\n' "$1" "$2" "$3" >&2
    exit 2
}
