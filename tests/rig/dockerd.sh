#!/usr/bin/env bash
# The Docker engine by hand, for a root shell on a machine without systemd.
# usage: dockerd.sh install|start|stop|status
set -euo pipefail
RUN=${DOCKER_RUN:-/var/run}; SOCK=$RUN/docker.sock; PID=$RUN/docker.pid; LOG=${DOCKER_LOG:-/var/log/dockerd.log}

up() { timeout 5 docker -H "unix://$SOCK" version >/dev/null 2>&1; }
running() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = dockerd ] && ! grep -q '^State:.Z' "/proc/$1/status"; }

case ${1:-} in
  install)
    if command -v dockerd >/dev/null && command -v docker >/dev/null; then exit 0; fi
    apt-get update -qq
    # from Debian 13 on the client is a package of its own
    client=$(apt-cache show docker-cli >/dev/null 2>&1 && echo docker-cli || true)
    # RUNLEVEL keeps the package from looking for an init system that is not there
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -qq --no-install-recommends docker.io $client iptables ca-certificates >/dev/null ;;
  start)
    if up; then echo "already up"; exit 0; fi
    # dockerd refuses to start while the number in its pid file is any live process, a zombie included
    # (a killed dockerd stays one until PID 1 reaps it): keep the file only for a running dockerd.
    if [ -f "$PID" ] && ! running "$(cat "$PID")"; then rm -f "$PID" "$RUN/docker/containerd/containerd.pid"; fi
    mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
    # setsid: not in this shell's process group or session, so Ctrl-C and logout leave it alone
    setsid nohup dockerd -H "unix://$SOCK" --pidfile "$PID" --exec-root "$RUN/docker" \
      --log-opt max-size=20m --log-opt max-file=2 ${DOCKERD_ARGS:-} >>"$LOG" 2>&1 </dev/null &
    for _ in $(seq 150); do
      if up; then echo up; exit 0; fi
      kill -0 $! 2>/dev/null || break      # it gave up already: no use waiting
      sleep 0.2
    done
    tail -5 "$LOG" >&2
    exit 1 ;;
  stop)      # SIGTERM stops the containers too (15 s each at most), then containerd
    [ -f "$PID" ] || exit 0
    p=$(cat "$PID")
    running "$p" || exit 0
    kill "$p"
    for _ in $(seq 150); do running "$p" || exit 0; sleep 0.2; done
    echo "dockerd ($p) is still running after 30 s" >&2
    exit 1 ;;
  status)
    if up; then echo up; else echo down; exit 1; fi ;;
  *)
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2 ;;
esac
