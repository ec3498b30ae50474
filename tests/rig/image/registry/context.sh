#!/usr/bin/env bash
# usage: context.sh CONTEXT CACHE     Fills the folder that the image is built from.
set -euo pipefail
here=$(dirname "$0")
cp "$here/Dockerfile" "$1/"
mkdir "$1/app"
mvn -q -B -f "$here/pom.xml" dependency:copy -DoutputDirectory="$1/download" >&2
tar -xzf "$1"/download/*.tar.gz -C "$1/app"
rm -r "$1/download"
