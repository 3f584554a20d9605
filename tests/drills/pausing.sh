#!/bin/bash
# A script for drills: as append.sh, but a text that names a folder makes it tell there that it
# runs, and wait until the folder is gone.
set -euo pipefail
text=$(cat -- "$2")
if [[ $text == /* && -d $text ]]; then touch "$text/running"; fi
while [[ $text == /* && -d $text ]]; do sleep 0.05; done
cat -- "$1" "$2" >"$3"
