#!/bin/bash
# Boots the machine: arms its end, fetches the worker, runs it, powers off.
# The settings stand above these lines, as exports. The launch template makes every
# power-off a termination, so the machine needs no permission on EC2.
set -euo pipefail

# /tmp is a RAM disk on Amazon Linux 2023:
# https://docs.aws.amazon.com/linux/al2023/ug/deprecated-al2.html
root=${ADDENDUM_ROOT:-/var/lib/addendum}

finish() {
  status=$?
  if [ "$status" -ne 0 ]; then
    aws s3 cp "$root/boot.log" "s3://$ADDENDUM_BUCKET/logs/vm/$(instance_id)" || true
  fi
  shutdown -h now
}

instance_id() {
  python3 - <<'PYTHON'
import os
from urllib.request import Request, urlopen
base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254") + "/latest/"
ask = {"method": "PUT", "headers": {"X-aws-ec2-metadata-token-ttl-seconds": "60"}}
token = urlopen(Request(base + "api/token", **ask), timeout=5).read().decode()
tell = {"headers": {"X-aws-ec2-metadata-token": token}}
print(urlopen(Request(base + "meta-data/instance-id", **tell), timeout=5).read().decode())
PYTHON
}

trap finish EXIT
shutdown -h "+$(((ADDENDUM_MAX_LIFE + 59) / 60))"
mkdir -p "$root/worker"
exec >"$root/boot.log" 2>&1

ADDENDUM_BOOTED_AT=$(date +%s)
# A just-created role can be unknown for some seconds.
export ADDENDUM_BOOTED_AT AWS_METADATA_SERVICE_NUM_ATTEMPTS=10 AWS_METADATA_SERVICE_TIMEOUT=5
aws s3 cp "s3://$ADDENDUM_BUCKET/$ADDENDUM_WORKER_KEY" - | tar -xzf - -C "$root/worker"
python3 "$root/worker/worker.py"
