#!/bin/sh
# Writes the digest of every foreign image beside its tag, in compose.yaml and Dockerfile. Needs the registries.
set -eu
cd "$(dirname "$0")/.."
pin() {  # file, image
    before="$2:(\\$\\{[A-Z_]+:-)?"
    tag=$(sed -nE "s#.*$before([^}@ ]+).*#\\2#p" "$1" | head -n 1)
    digest=$(docker buildx imagetools inspect "$2:$tag" --format '{{.Manifest.Digest}}')
    echo "$digest" | grep -qE '^sha256:[0-9a-f]{64}$' || { echo "$2:$tag has no digest: $digest" >&2; exit 1; }
    sed -i -E "s#($before$tag)(@sha256:[0-9a-f]+)?#\\1@$digest#" "$1"
    echo "$2:$tag@$digest"
}
for image in nvcr.io/nvidia/tritonserver postgres bluenviron/mediamtx coturn/coturn caddy; do pin compose.yaml "$image"; done
pin deploy/Dockerfile python
