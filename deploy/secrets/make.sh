#!/bin/sh
# Makes every secret that compose.yaml names and that is not here yet: 32 random hex digits each.
set -eu
cd "$(dirname "$0")"
for example in *.example; do
    name=${example%.example}
    test -e "$name" && continue
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$name"
    chmod 644 "$name"  # containers read it as user 1000; this folder is closed to others below
    echo "made $name"
done
chmod 700 .
