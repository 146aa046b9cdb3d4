#!/bin/sh
# Passwords from secret files into this process' environment alone: no image, no `inspect`, no config has them.
set -eu
password() {
    test -s "/run/secrets/$1" || { echo "secret $1 is missing or empty: run deploy/secrets/make.sh" >&2; exit 1; }
    cat "/run/secrets/$1"
}
[ $# -gt 0 ] || set -- SIGHTLINE_RTSP_READER_PASSWORD SIGHTLINE_RTSP_PUBLISHER_PASSWORD
number=0  # of the user in the configuration
for secret; do
    value=$(password "$secret")
    export "MTX_AUTHINTERNALUSERS_${number}_PASS=$value"
    number=$((number + 1))
done
exec "${MEDIAMTX:-/mediamtx}" "${MEDIAMTX_CONFIG:-/mediamtx.yml}"
