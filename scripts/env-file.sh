#!/bin/sh
# env-file.sh: print the names of the knobs that .env sets. env-file.sh NAME: print the value of one, as it stands there.
# Spaces and tabs around =, quotes around a value, a comment behind it and the line ends of Windows are allowed, as they are to Compose.
export LC_ALL=C
name=${1:-[A-Z_][A-Z0-9_]*}
lines() { tr -d '\r' <.env | sed -n "s/^\($name\)[[:blank:]]*=\(.*\)/\\$1/p"; } # 1: the name, 2: what stands behind it
if [ $# = 0 ]; then
    lines 1
else
    lines 2 | head -n 1 |
        sed -e "s/^[[:blank:]]*'\([^']*\)'[[:blank:]]*\(#.*\)\{0,1\}\$/\1/; t" \
            -e 's/^[[:blank:]]*"\([^"]*\)"[[:blank:]]*\(#.*\)\{0,1\}$/\1/; t' \
            -e 's/[[:blank:]]#.*//; s/^[[:blank:]]*//; s/[[:blank:]]*$//'
fi
