#!/usr/bin/env bash
# usage: context.sh CONTEXT CACHE     Fills the folder that the image is built from.
set -euo pipefail
here=$(dirname "$0")
cp "$here/Dockerfile" "$here/archive-classes.sh" "$1/"
cp -R "$("$here/dist.sh" "$2")" "$1/dist"
