#!/bin/bash
# append.sh INPUT_FILE TEXT_FILE OUTPUT_FILE
# The example script: the output is the bytes of the input followed by those of the text.
# Exit 0: done. Exit 75: try again later. Anything else: the job has failed.
set -euo pipefail

# A file system that can share blocks copies at once; `cp` elsewhere has no such option.
cp --reflink=auto -- "$1" "$3" 2>/dev/null || cp -- "$1" "$3"
cat -- "$2" >>"$3"
