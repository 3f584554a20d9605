#!/bin/bash
# bash_append.sh SOURCE TEXT TARGET: download with the `aws` command, append, upload.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
aws s3 cp --only-show-errors "$1" "$folder/file"
printf '%s' "$2" >>"$folder/file"
aws s3 cp --only-show-errors "$folder/file" "$3"
