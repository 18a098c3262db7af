# Sourced by the scripts that need a key, or another file, only while they run.
# on_end COMMAND: run it when this script ends, also by a signal (without a trap for the signal, dash runs no EXIT trap).
# Further signals do not interrupt it.
on_end() {
    # shellcheck disable=SC2064
    trap "trap '' HUP INT QUIT PIPE TERM; $1" EXIT
    trap 'exit 2' HUP INT QUIT PIPE TERM
}
# work_folder: make the folder $work, which only this user can enter, until the script ends. It is in .lab: the next script
# that makes one, and `make clean`, remove what SIGKILL left there.
work_folder() {
    for left in .lab/work.*; do
        [ ! -e "$left" ] || runs "${left##*.}" || rm -rf "$left" 2>/dev/null || true # another user's may stay
    done
    work=.lab/work.$$ fifos=
    on_end remove_work
    rm -rf "$work" # of an earlier process with this number
    (umask 077 && mkdir -p "$work")
}
runs() { kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ] || ps -p "$1" >/dev/null 2>&1; } # PID, also of another user's process
remove_work() { rm -rf "$work" "$fifos"; }
# fifo: make the FIFO $fifo, which is removed with $work. It is not in .lab: file systems of Windows have no FIFOs.
fifo() {
    fifos=$(mktemp -d "${TMPDIR:-/tmp}/mtls-lab.XXXXXX")
    fifo=$fifos/fifo
    mkfifo "$fifo"
}
