#!/usr/bin/env bash
# Assembles Kafka (bin, libs, etc) from Maven Central's jars, once, and prints the folder it lies in.
# usage: dist.sh CACHE     A change of the files beside this script makes a new folder.
# The image and the broker that runs as a local process are made from the same folder.
set -euo pipefail
mkdir -p "$1"
cache=$(cd "$1" && pwd)
cd "$(dirname "$0")"
recipe=$(find bin etc pom.xml -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c1-12)
dist=$cache/kafka-$recipe
exec 9>"$cache/lock"
flock 9                                   # two test runs may start at once
if [ ! -d "$dist" ]; then
  rm -rf "$dist.part"
  mkdir -p "$dist.part"
  mvn -q -B -f pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$dist.part/libs" >&2
  cp -R bin etc "$dist.part/"
  for tool in acls broker-api-versions cluster configs console-consumer console-producer consumer-groups \
      dump-log get-offsets metadata-quorum storage topics server-start; do
    ln -s tool "$dist.part/bin/kafka-$tool.sh"
  done
  mv "$dist.part" "$dist"
fi
echo "$dist"
