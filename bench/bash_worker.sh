#!/bin/bash
# bash_worker.sh TABLE ID: one job as people write it, with the `aws` command: read the
# record, download, append, upload, record the result. It needs no queue and no claim.
set -euo pipefail

table=$1
key="{\"id\": {\"S\": \"$2\"}}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

record=$(aws dynamodb get-item --table-name "$table" --key "$key" --output text \
  --query 'Item.[input_file_path.S, input_text.S]')
IFS=$'\t' read -r path text <<<"$record"
output=${path%%/*}/bash-output/$2
aws s3 cp --only-show-errors "s3://$path" input
printf '%s' "$text" | cat input - >output
aws s3 cp --only-show-errors output "s3://$output"
aws dynamodb update-item --table-name "$table" --key "$key" \
  --update-expression 'SET #status = :status, output_file_path = :path' \
  --expression-attribute-names '{"#status": "status"}' \
  --expression-attribute-values \
  "{\":status\": {\"S\": \"SUCCEEDED\"}, \":path\": {\"S\": \"$output\"}}"
