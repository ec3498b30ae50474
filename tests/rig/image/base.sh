#!/usr/bin/env bash
# Base image from this machine only: bash + a few tools + the glibc they need + a jlink'ed JRE.
# usage: base.sh TAG [DOCKERFILE-INSTRUCTION]   (JAVA_HOME may name another JDK >= 17 with jmods)
set -euo pipefail
TAG=$1 INSTRUCTION=${2:-LABEL auditwire.test=yes}
JAVA_HOME=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v jlink)")")")}
MODULES=java.se,jdk.unsupported,jdk.crypto.ec,jdk.zipfs,jdk.net,jdk.management,jdk.security.auth,jdk.naming.dns,jdk.jcmd,jdk.httpserver
TOOLS="bash sh cat chmod chown cp cut date df env grep head hostname id kill ln ls mkdir mv ps pwd rm sed sleep sort tail tee test timeout touch tr true uname wc"
ROOT=$(mktemp -d); trap 'rm -rf "$ROOT"' EXIT
mkdir -p "$ROOT"/{bin,etc,tmp,lib64,proc,sys,dev,var/lib,root,home/appuser,mnt/shared/config,usr/lib}
chmod 1777 "$ROOT/tmp"; ln -s ../bin "$ROOT/usr/bin"

"$JAVA_HOME/bin/jlink" --add-modules "$MODULES" --compress=0 \
  --strip-java-debug-attributes --no-header-files --no-man-pages --output "$ROOT/opt/java"

for t in $TOOLS; do cp -L "$(type -P "$t")" "$ROOT/bin/$t"; done
# every shared library any of these binaries asks for, at the path the loader knows
find "$ROOT/bin" "$ROOT/opt/java/bin" "$ROOT/opt/java/lib" -type f \( -perm -u+x -o -name '*.so' \) -print0 |
  LD_LIBRARY_PATH=$ROOT/opt/java/lib:$ROOT/opt/java/lib/server xargs -0 -n1 ldd 2>/dev/null |
  grep -oE '(=> )?/[^ ]+' | sed 's/=> //' | grep -v "^$ROOT" | sort -u |
  while read -r so; do mkdir -p "$ROOT$(dirname "$so")"; cp -Lu "$so" "$ROOT$so"; done
# the native parts of zstd-jni, snappy-java and lz4-java name these; no binary above does
for so in libpthread.so.0 libdl.so.2 librt.so.1 libresolv.so.2 libgcc_s.so.1 libstdc++.so.6; do
  f=$(ldconfig -p | awk -v n=$so '$1==n && /x86-64|AArch64/ {print $NF; exit}')
  mkdir -p "$ROOT$(dirname "$f")"; cp -Lu "$f" "$ROOT$f"
done
printf 'root:x:0:0::/root:/bin/bash\nappuser:x:1000:1000::/home/appuser:/bin/bash\n' > "$ROOT/etc/passwd"
printf 'root:x:0:\nappuser:x:1000:\n' > "$ROOT/etc/group"
printf 'hosts: files dns\n' > "$ROOT/etc/nsswitch.conf"
chown 1000:1000 "$ROOT/home/appuser" "$ROOT/mnt/shared/config"
tar -C "$ROOT" -c . | docker import \
  --change 'ENV PATH=/opt/java/bin:/opt/kafka/bin:/bin JAVA_HOME=/opt/java LANG=C.UTF-8' \
  --change "$INSTRUCTION" - "$TAG" >/dev/null
