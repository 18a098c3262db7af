#!/bin/sh
# certs.sh DIR [CLIENT_FILES]: copy what a person needs on the host, unless the copy that is there says the same. What the
# CA calls the state of its files spares a look at them, if the copy is as it was left when they were in that state.
# certs.sh --remove DIR: remove such a copy, and nothing else.
set -e
. scripts/error.sh
# A copy has a manifest.json, which is written last; while it is being made, or was not finished, .unfinished stands for it.
ours() {
    for manifest in "$1/manifest.json" "$1/.unfinished"; do
        [ -f "$manifest" ] && grep -q catalogue_sha256 "$manifest" && return
    done
    return 1
}
if [ "$1" = --remove ] && [ $# = 2 ]; then
    if ours "$2"; then rm -rf "$2/clients" "$2/public_root.pem" "$2"/validation_*.pem "$2/manifest.json" "$2/.unfinished" "$2/.new"; rmdir "$2" 2>/dev/null || true; fi
    exit 0
fi
out=$1 files=$2
case $out in '' | -*) error "could not copy the certificates" "OUT is no folder: '$out'" "make certs OUT=certs" ;; esac
if [ -e "$out" ] && [ -n "$(ls -A "$out" 2>/dev/null || echo file)" ] && ! ours "$out"; then
    error "could not copy the certificates" "$out exists and is no copy made by make certs" "make certs OUT=certs"
fi
copied=.lab/copied unchanged="certificates in $out are up to date"
state() { # of the CA's files, of the copy, and of the programs that copy
    echo "$files $(CDPATH='' cd -- "$out" && find -L . -type f -exec cksum {} + | LC_ALL=C sort | cksum) $(cat client/*.py scripts/certs.sh | cksum)"
}
end() { # SAID: the copy is good; remember in which state
    [ -z "$files" ] || state >$copied
    echo "$1" >&2
    exit 0
}
if [ -n "$files" ] && [ -e "$out" ] && [ "$(cat $copied 2>/dev/null)" = "$(state)" ]; then
    echo "$unchanged" >&2
    exit 0
fi
umask 077
. scripts/temporary.sh
work_folder
new=$work
if [ "$RUNTIME" = compose ]; then
    sh scripts/compose-run.sh client export >"$new/.tar" || exit 2
else
    LAB_CERTS=.lab/client-tls "$VENV/bin/python" -m client export >"$new/.tar" || exit 2
fi
tar -xof "$new/.tar" -C "$new"
rm -f "$new/.tar"
said="certificates copied to $out"
if [ -e "$out/manifest.json" ]; then
    said="certificates in $out were stale: copied again"
    if diff -r "$new" "$out" 2>&1 | grep -v "^Only in $out" | grep -q .; then :; else end "$unchanged"; fi
fi
failed() { error "could not copy the certificates" "$out can't be written" "make certs OUT=certs"; }
mkdir -p "$out" 2>/dev/null || failed
trap '' HUP INT QUIT PIPE TERM # the copy is made whole
[ ! -e "$out/manifest.json" ] || mv -f "$out/manifest.json" "$out/.unfinished" || failed
[ -e "$out/.unfinished" ] || cp "$new/manifest.json" "$out/.unfinished" || failed
mkdir -p "$out/clients" || failed
known=$(grep -o '"clients/[^"]*/cert.pem"' "$out/.unfinished" || true)
for folder in "$out"/clients/*/; do # of credentials that are no more; what else is there stays
    name=$(basename "$folder")
    case $known in *"\"clients/$name/"*) ours=yes ;; *) ours=no ;; esac # `make enroll` makes folders, too
    if [ $ours = yes ] && ! [ -d "$new/clients/$name" ]; then
        for file in cert.pem chain.pem fullchain.pem privkey.pem bundle.p12 bundle-legacy.p12; do rm -f "$folder$file"; done
        rmdir "$folder" 2>/dev/null || true
    fi
done
cp -R "$new/clients" "$new"/*.pem "$out" || failed
cp "$new/manifest.json" "$out/.new" || failed
mv -f "$out/.new" "$out/manifest.json" # last: its presence means that the copy is complete
rm -f "$out/.unfinished"
on_end remove_work
end "$said"
