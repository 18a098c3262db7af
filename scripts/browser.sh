#!/bin/sh
# Say how to import client-good into the browser of this machine, how to remove it again, and open the page.
set -e
. scripts/ca.sh
. scripts/server.sh
running 2>/dev/null || error "there is no page to open" "no server runs at https://localhost:$PORT/" "make up MODE=optional"
# PUBLIC_CA may have another value in this shell: what counts is what the running server was started with.
case $(started_with UVICORN_SSL_CERTFILE) in
/etc/letsencrypt/*)
    error "a browser must not trust the CA of the server" "pebble issued its certificate, a test server that gives away the key of its root" \
        "make up PUBLIC_CA=lab MODE=optional, then: make browser"
    ;;
esac

here() { # which system is this?
    case $(uname -s) in
    Darwin) echo macos ;;
    MINGW* | MSYS* | CYGWIN*) echo windows ;;
    *) if grep -qi microsoft /proc/version 2>/dev/null; then echo windows; else echo linux; fi ;; # WSL: its browser is Windows'
    esac
}
system=${FOR:-$(here)}
bundle=bundle.p12 legacy= kind="AES-256: everything of today reads it"
case $system in
linux | windows) ;;
macos) bundle=bundle-legacy.p12 legacy=1 kind="3DES and SHA-1: macOS calls the password of a modern one wrong" ;;
*) error "unknown FOR" "'$system' is none of linux, macos, windows" "make browser FOR=linux" ;;
esac
LAB_NAME=client-good LAB_LEGACY=$legacy LAB_PASSWORD='' sh scripts/people.sh export-p12 >&2
at certs

# certificate FILE: set name, organization and sha1 to those of its first certificate. Names with other characters are left
# empty: they would stand in commands, and anything can be in them.
certificate() {
    facts=$(openssl_here x509 -noout -fingerprint -sha1 -subject -nameopt multiline,utf8,-esc_msb <"$1" | tr -d '\r')
    sha1=$(printf '%s\n' "$facts" | sed -n 's/^[Ss][Hh][Aa]1 Fingerprint=\([0-9A-F:]*\)$/\1/p' | tr -d :)
    [ -n "$sha1" ] || error "could not name the certificates to import" "openssl can't read $1" "make certs"
    name=$(plain commonName) organization=$(plain organizationName)
}
plain() { printf '%s\n' "$facts" | LC_ALL=C sed -n "s/^ *$1 *= \([A-Za-z0-9][A-Za-z0-9 ._-]*\)\$/\1/p" | head -n 1; }
openssl_here() { if [ "$RUNTIME" = compose ]; then sh scripts/compose-run.sh shell openssl "$@"; else openssl "$@"; fi; }

folder=$(pwd)
[ "$(word "$folder" .)" != . ] || folder=. # quotes and the like in its name: they are not for commands that people paste
p12=$folder/certs/clients/client-good/$bundle
root=$folder/certs/public_root.pem
certificate certs/clients/client-good/chain.pem
intermediate=${name:-$sha1} nickname=$name${organization:+ - $organization} intermediate_macos="-Z $sha1"
[ -z "$name" ] || intermediate_macos="-c '$name'"
certificate "$root"
root_name=${name:-$sha1} root_shown=${name:-the one with the SHA-1 fingerprint $sha1} root_macos="-Z $sha1"
[ -z "$name" ] || root_macos="-c '$name'"
# Another CA's root may be trusted already: then there is nothing to trust, and nothing to remove.
trusted=
if grep -q '"server_name": "[^"]' certs/manifest.json; then
    roots=$(system_roots)
    [ -z "$roots" ] || ! LC_ALL=C tr -d '\r\n' <"$roots" | LC_ALL=C grep -qF -e "$(tr -d '\r\n' <"$root")" || trusted=yes
fi
if [ "$system" = windows ] && command -v wslpath >/dev/null; then
    p12=$(wslpath -w "$p12")
    root=$(wslpath -w "$root")
fi
of_root() { [ -n "$trusted" ] || printf '%s\n' "$@"; } # LINE...

linux() {
    cat <<END
Chrome, Chromium and Edge on Linux (the tools: sudo apt-get install libnss3-tools; Fedora: nss-tools):
  store    mkdir -p ~/.pki/nssdb
           certutil -K -d sql:\$HOME/.pki/nssdb || certutil -N -d sql:\$HOME/.pki/nssdb --empty-password
  import   pk12util -d sql:\$HOME/.pki/nssdb -i '$p12' -W mtls-lab
END
    of_root "  trust    certutil -d sql:\$HOME/.pki/nssdb -A -t C,, -n mtls-lab-root -i '$root'"
    echo "  remove   certutil -d sql:\$HOME/.pki/nssdb -F -n client-good"
    if [ -n "$nickname" ]; then
        echo "           certutil -d sql:\$HOME/.pki/nssdb -D -n '$nickname'"
    else
        echo "           certutil -d sql:\$HOME/.pki/nssdb -L, and -D -n with the name of the intermediate"
    fi
    of_root "           certutil -d sql:\$HOME/.pki/nssdb -D -n mtls-lab-root"
    echo "  A browser from Snap or Flatpak has another store: use its Settings > Privacy and security > Manage certificates."
}
macos() {
    cat <<END
Safari, Chrome and Edge on macOS (all use the login keychain):
  import   security import '$p12' -k ~/Library/Keychains/login.keychain-db -P mtls-lab
END
    of_root "  trust    security add-trusted-cert -r trustRoot -p ssl -k ~/Library/Keychains/login.keychain-db '$root'"
    cat <<END
  remove   security delete-identity -c client-good ~/Library/Keychains/login.keychain-db
           security delete-certificate $intermediate_macos ~/Library/Keychains/login.keychain-db
END
    of_root "           security remove-trusted-cert '$root'" \
        "           security delete-certificate $root_macos ~/Library/Keychains/login.keychain-db"
    echo "  By hand: double-click each file; Keychain Access > login > My Certificates."
}
windows() {
    cat <<END
Chrome and Edge on Windows (both use the user's store), in PowerShell or cmd:
  import   certutil -user -p mtls-lab -importpfx My "$p12"
END
    of_root "  trust    certutil -user -addstore Root \"$root\""
    cat <<END
  remove   certutil -user -delstore My client-good
           certutil -user -delstore CA "$intermediate"
END
    of_root "           certutil -user -delstore Root \"$root_name\""
    echo "  By hand: double-click the bundle; certmgr.msc. Windows older than 10 1709 wants the bundle that FOR=macos makes."
}
case $system in
linux | windows) safari="Safari: macOS alone has it." ;;
macos) safari= ;;
esac
cat <<END

  page     $url/
END
[ "$host" = localhost ] || echo "           $host has to lead to this machine: a line '127.0.0.1 $host' in its hosts file"
cat <<END
  import   $p12
           password mtls-lab ($kind)
END
if [ -n "$trusted" ]; then
    echo "  trust    nothing: this machine trusts the CA of the server already ($root_shown)"
elif grep -q '"server_name": "[^"]' certs/manifest.json; then
    cat <<END
  trust    $root
           $root_shown, the CA of the server, for websites only. With the key of that CA a stranger can be any website
           to you. If your browser trusts it already, leave out the lines about it, also those that remove it.
END
else
    cat <<END
  trust    $root
           the CA of the server, for websites alone. Remove it afterwards: whoever gets this lab's keys could be any
           website to you.
END
fi
cat <<END

$($system)

Firefox on every system (it has a store of its own): Settings > Privacy & Security > View Certificates...
  import   Your Certificates > Import...
END
of_root "  trust    Authorities > Import... > Trust this CA to identify websites"
echo "  remove   Your Certificates > client-good > Delete...$(of_root "; Authorities > $root_shown > Delete or Distrust...")"
cat <<END

${safari:+$safari }Other systems: make browser FOR=linux|macos|windows. Restart the browser to be asked again: it remembers
the answer until it ends. It does not offer the certificate? docs/browser.md

END
opener=
case $(here) in
macos) opener=open ;;
windows) opener="cmd.exe /c start" ;;
linux) [ -z "$DISPLAY$WAYLAND_DISPLAY" ] || opener=xdg-open ;;
esac
[ "$host" = localhost ] || opener= # the name may lead to another machine still
# shellcheck disable=SC2086
if [ -n "$opener" ] && $opener "$url/" >/dev/null 2>&1; then echo "opened $url/"; else echo "open $url/ in the browser"; fi
