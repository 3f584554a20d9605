#!/bin/bash
# `shutdown` of a virtual machine on the laptop: says when its power goes off, as seconds
# since the epoch, in a file that its host watches. Off means: this instance terminates.
set -euo pipefail
power="$(dirname "$0")/../power-off-at"
case "$*" in
  "-c") rm -f "$power"; exit ;;
  "-h now") at=0 ;;
  "-h +"*) minutes=${2#+}; at=$(($(date +%s) + 60 * 10#$minutes)) ;;
  *) echo "shutdown: only -h now, -h +MINUTES and -c work here, not: $*" >&2; exit 1 ;;
esac
echo "$at" >"$power.new"
mv "$power.new" "$power"
