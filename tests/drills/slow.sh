#!/bin/bash
# The soak's script: as append.sh, but it takes up to a second, so that kills meet it.
set -euo pipefail
sleep "0.$((RANDOM % 10))"
cat -- "$1" "$2" >"$3"
