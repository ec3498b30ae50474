#!/usr/bin/env bash
# Builds an offline stand-in for a public image: from this machine's JDK and Maven Central's jars.
# usage: build.sh kafka|registry TAG CACHE     Nothing is done when TAG was built from these same files.
#        build.sh current kafka|registry TAG   Exit 0 when it was.
set -euo pipefail
CACHE=$(realpath -m "${3:-}")
cd "$(dirname "$0")"
BASE=auditwire-test-jre:local
LABEL=auditwire.test.recipe

recipe() { find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c1-12; }
label() { docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$1" 2>/dev/null || true; }

if [ "$1" = current ]; then
  [ "$(label "$3")" = "$(recipe base.sh build.sh "$2")" ]
  exit
fi

what=$1 tag=$2
mkdir -p "$CACHE"
exec 8>"$CACHE/build.lock"
flock 8                                    # two test runs may start at once
want=$(recipe base.sh build.sh "$what")
[ "$(label "$tag")" != "$want" ] || exit 0
if [ "$(label $BASE)" != "$(recipe base.sh)" ]; then
  ./base.sh $BASE "LABEL $LABEL=$(recipe base.sh)"
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
"$what/context.sh" "$context" "$CACHE"
# without buildx, the client's default builder is one it does not have
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
docker build -q --build-arg BASE=$BASE --label "$LABEL=$want" -t "$tag" "$context" >"$context/log" 2>&1 ||
  { cat "$context/log" >&2; exit 1; }
