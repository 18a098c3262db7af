#!/bin/sh
# Say how to import client-good into the browser of this machine, how to remove it again, and open the page.
set -e
. scripts/error.sh
. scripts/server.sh
url=https://localhost:$PORT/
running 2>/dev/null || error "there is no page to open" "no server runs at $url" "make up MODE=optional"

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
p12=$(pwd)/certs/clients/client-good/$bundle
root=$(pwd)/certs/public_root.pem
if [ "$system" = windows ] && command -v wslpath >/dev/null; then
    p12=$(wslpath -w "$p12")
    root=$(wslpath -w "$root")
fi

linux() {
    cat <<END
Chrome, Chromium and Edge on Linux (the tools: sudo apt-get install libnss3-tools; Fedora: nss-tools):
  store    mkdir -p ~/.pki/nssdb
           certutil -K -d sql:\$HOME/.pki/nssdb || certutil -N -d sql:\$HOME/.pki/nssdb --empty-password
  import   pk12util -d sql:\$HOME/.pki/nssdb -i '$p12' -W mtls-lab
  trust    certutil -d sql:\$HOME/.pki/nssdb -A -t C,, -n mtls-lab-root -i '$root'
  remove   certutil -d sql:\$HOME/.pki/nssdb -F -n client-good
           certutil -d sql:\$HOME/.pki/nssdb -D -n 'mTLS Lab Validation Intermediate - mTLS Lab'
           certutil -d sql:\$HOME/.pki/nssdb -D -n mtls-lab-root
  A browser from Snap or Flatpak has another store: use its Settings > Privacy and security > Manage certificates.
END
}
macos() {
    cat <<END
Safari, Chrome and Edge on macOS (all use the login keychain):
  import   security import '$p12' -k ~/Library/Keychains/login.keychain-db -P mtls-lab
  trust    security add-trusted-cert -r trustRoot -p ssl -k ~/Library/Keychains/login.keychain-db '$root'
  remove   security delete-identity -c client-good ~/Library/Keychains/login.keychain-db
           security delete-certificate -c 'mTLS Lab Validation Intermediate' ~/Library/Keychains/login.keychain-db
           security remove-trusted-cert '$root'
           security delete-certificate -c 'mTLS Lab Public Root' ~/Library/Keychains/login.keychain-db
  By hand: double-click each file; Keychain Access > login > My Certificates.
END
}
windows() {
    cat <<END
Chrome and Edge on Windows (both use the user's store), in PowerShell or cmd:
  import   certutil -user -p mtls-lab -importpfx My "$p12"
  trust    certutil -user -addstore Root "$root"
  remove   certutil -user -delstore My client-good
           certutil -user -delstore CA "mTLS Lab Validation Intermediate"
           certutil -user -delstore Root "mTLS Lab Public Root"
  By hand: double-click the bundle; certmgr.msc. Windows older than 10 1709 wants the bundle that FOR=macos makes.
END
}
case $system in
linux | windows) safari="Safari: macOS alone has it." ;;
macos) safari= ;;
esac
cat <<END

  page     $url
  import   $p12
           password mtls-lab ($kind)
  trust    $root
           the CA of the server, for websites alone. Remove it afterwards: whoever gets this lab's keys could be any
           website to you.

$($system)

Firefox on every system (it has a store of its own): Settings > Privacy & Security > View Certificates...
  import   Your Certificates > Import...
  trust    Authorities > Import... > Trust this CA to identify websites
  remove   Your Certificates > client-good > Delete...; Authorities > mTLS Lab Public Root > Delete or Distrust...

${safari:+$safari }Other systems: make browser FOR=linux|macos|windows. Restart the browser to be asked again: it remembers
the answer until it ends. It does not offer the certificate? docs/browser.md

END
opener=
case $(here) in
macos) opener=open ;;
windows) opener="cmd.exe /c start" ;;
linux) [ -z "$DISPLAY$WAYLAND_DISPLAY" ] || opener=xdg-open ;;
esac
# shellcheck disable=SC2086
if [ -n "$opener" ] && $opener "$url" >/dev/null 2>&1; then echo "opened $url"; else echo "open $url in the browser"; fi
