#!/bin/sh
# tritonserver, which loads and replaces models, logs and traces only for who sends the key: not for the client.
set -eu
secret=${SECRETS:-/run/secrets}/SIGHTLINE_TRITON_KEY
test -s "$secret" || { echo "secret SIGHTLINE_TRITON_KEY is missing or empty: run deploy/secrets/make.sh" >&2; exit 1; }
exec "${TRITON:-tritonserver}" "$@" \
    "--grpc-restricted-protocol=model-repository,logging,trace:sightline=$(cat "$secret")"
