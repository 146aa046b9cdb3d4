#!/bin/sh
# Passwords from secret files into this process' environment alone: no image, no `inspect`, no config has them.
set -eu
password() {
    test -s "/run/secrets/$1" || { echo "secret $1 is missing or empty: run deploy/secrets/make.sh" >&2; exit 1; }
    cat "/run/secrets/$1"
}
MTX_AUTHINTERNALUSERS_0_PASS=$(password SIGHTLINE_RTSP_READER_PASSWORD)
MTX_AUTHINTERNALUSERS_1_PASS=$(password SIGHTLINE_RTSP_PUBLISHER_PASSWORD)
export MTX_AUTHINTERNALUSERS_0_PASS MTX_AUTHINTERNALUSERS_1_PASS
exec "${MEDIAMTX:-/mediamtx}" "${MEDIAMTX_CONFIG:-/mediamtx.yml}"
