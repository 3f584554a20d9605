#!/bin/bash
# A script for drills: as append.sh, but a text that names a folder makes it wait until the
# folder is gone.
set -euo pipefail
text=$(cat -- "$2")
while [[ $text == /* && -d $text ]]; do sleep 0.05; done
cat -- "$1" "$2" >"$3"
