#!/bin/sh
# coturn: its secret from a file into a configuration in memory; neither arguments nor environment have it.
set -eu
SECRET=${SECRETS:-/run/secrets}/SIGHTLINE_TURN_SECRET
CONFIG=${CONFIG:-/tmp/turnserver.conf}
test -s "$SECRET" || { echo "secret SIGHTLINE_TURN_SECRET is missing or empty: run deploy/secrets/make.sh" >&2; exit 1; }
umask 077
cat >"$CONFIG" <<END
listening-port=3478
use-auth-secret
static-auth-secret=$(cat "$SECRET")
realm=sightline
fingerprint
no-tls
no-dtls
no-cli
no-multicast-peers
denied-peer-ip=0.0.0.0-255.255.255.255
denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
allowed-peer-ip=$TURN_PEER
no-tcp-relay
relay-ip=$TURN_RELAY
total-quota=200
log-file=stdout
simple-log
pidfile=/tmp/turnserver.pid
userdb=/tmp/turndb
END
exec "${TURNSERVER:-turnserver}" -c "$CONFIG"
