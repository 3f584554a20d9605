"""What a virtual machine is: its role, its code, its disk, its network, its end."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

import jobs
import metrics
from infra import bundle, policies
from infra.network import Network
from infra.settings import Machines, Uploads
from infra.storage import VISIBILITY_SECONDS, Storage

IMAGE_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
"""Where AWS names the newest Amazon Linux 2023 for Arm:
https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
"""

BOOT_SCRIPT = Path("ec2_userdata/boot.sh")
USER_DATA_LIMIT = 16 * 1024
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html"""

FIRST_WAIT_SECONDS = jobs.FORM_SECONDS + 60
"""How long a machine waits for its first job: an upload can begin as late as its form allows."""

SYSTEM_GIB = 8
ROOT_DEVICE = "/dev/xvda"
"""Amazon Linux's root volume."""


@dataclass(frozen=True)
class FleetArgs:
    """Inputs of :class:`Fleet`."""

    stack: str
    """Value of the tag on all that is launched."""
    storage: Storage
    network: Network
    uploads: Uploads
    machines: Machines


class Fleet(pulumi.ComponentResource):
    """The launch template and all that it names: role, profile, worker and script.

    Worker and script stay in the bucket when newer ones take their place, so that a
    machine that boots from the version before still finds its own.
    """

    def __init__(
        self, name: str, args: FleetArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Fleet", name, None, opts)
        self._name = name
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._worker = bundle.build()
        role = self._role()
        profile = aws.iam.InstanceProfile(name, role=role.name, opts=self._child)
        script_key = f"{jobs.SCRIPT_PREFIX}script-{_digest(args.machines.script)}"
        objects = [
            self._object("worker", self._worker.key, self._worker.path),
            self._object("script", script_key, args.machines.script),
        ]
        template = self._template(profile, self._user_data(script_key), objects)
        self.role_arn = role.arn
        self.template_id = template.id
        self.template_arn = template.arn
        self.template_version = template.latest_version.apply(str)
        self.register_outputs({"template_id": template.id, "role_arn": role.arn})

    def _role(self) -> aws.iam.Role:
        storage = self._args.storage
        role = aws.iam.Role(
            self._name,
            assume_role_policy=pulumi.Output.json_dumps(policies.assume_role("ec2")),
            opts=self._child,
        )
        statements = policies.render(
            policies.worker,
            bucket_arn=storage.bucket.arn,
            table_arn=storage.table.arn,
            queue_arn=storage.queue.arn,
            metric_namespace=metrics.namespace(self._args.stack),
        )
        aws.iam.RolePolicy(
            self._name, role=role.name, policy=policies.as_json(statements), opts=self._child
        )
        return role

    def _object(self, name: str, key: str, path: Path) -> aws.s3.BucketObjectv2:
        return aws.s3.BucketObjectv2(
            f"{self._name}-{name}",
            bucket=self._args.storage.bucket.name,
            key=key,
            source=pulumi.FileAsset(path),
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )

    def _user_data(self, script_key: str) -> pulumi.Output[str]:
        storage, machines = self._args.storage, self._args.machines
        region = aws.get_region_output(opts=pulumi.InvokeOutputOptions(parent=self)).region
        exports = {
            "AWS_DEFAULT_REGION": region,
            jobs.Env.STACK: self._args.stack,
            jobs.Env.TABLE: storage.table.name,
            jobs.Env.BUCKET: storage.bucket.name,
            jobs.Env.QUEUE_URL: storage.queue.url,
            jobs.Env.WORKER_KEY: self._worker.key,
            jobs.Env.SCRIPT_KEY: script_key,
            jobs.Env.FRESH_VM_PER_JOB: str(machines.fresh_vm_per_job).lower(),
            jobs.Env.MAX_LIFE: str(machines.max_life),
            jobs.Env.JOB_TIMEOUT: str(machines.job_timeout),
            jobs.Env.FIRST_WAIT_SECONDS: str(FIRST_WAIT_SECONDS),
            jobs.Env.IDLE_SECONDS: str(machines.idle_seconds),
            jobs.Env.VISIBILITY_TIMEOUT: str(VISIBILITY_SECONDS),
        }
        boot = BOOT_SCRIPT.read_text()
        return pulumi.Output.all(**exports).apply(lambda known: user_data(known, boot))

    def _template(
        self,
        profile: aws.iam.InstanceProfile,
        user_data: pulumi.Output[str],
        objects: Sequence[pulumi.Resource],
    ) -> aws.ec2.LaunchTemplate:
        return aws.ec2.LaunchTemplate(
            self._name,
            image_id=f"resolve:ssm:{IMAGE_PARAMETER}",
            iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(arn=profile.arn),
            # The default only stops an instance, and a stopped one is paid for and stays.
            # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingInstanceInitiatedShutdownBehavior.html
            instance_initiated_shutdown_behavior="terminate",
            metadata_options=_METADATA,
            network_interfaces=[_interface(self._args.network.security_group_id)],
            block_device_mappings=[
                _disk(
                    disk_gib(self._args.uploads.max_file_bytes, self._args.machines.instance_types)
                )
            ],
            user_data=user_data,
            update_default_version=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=objects),
        )


_METADATA = aws.ec2.LaunchTemplateMetadataOptionsArgs(
    http_endpoint="enabled",
    http_tokens="required",
    http_put_response_hop_limit=1,
    instance_metadata_tags="disabled",
)


def _interface(
    security_group_id: pulumi.Input[str],
) -> aws.ec2.LaunchTemplateNetworkInterfaceArgs:
    """Return the network interface. The fleet's overrides choose its subnet.

    With an interface in the template, security groups and public address belong in it:
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RequestLaunchTemplateData.html
    """
    return aws.ec2.LaunchTemplateNetworkInterfaceArgs(
        device_index=0,
        associate_public_ip_address="true",
        security_groups=[security_group_id],
        delete_on_termination="true",
    )


def _disk(gib: int) -> aws.ec2.LaunchTemplateBlockDeviceMappingArgs:
    volume = aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
        volume_type="gp3", volume_size=gib, encrypted="true", delete_on_termination="true"
    )
    return aws.ec2.LaunchTemplateBlockDeviceMappingArgs(device_name=ROOT_DEVICE, ebs=volume)


def user_data(exports: Mapping[str, str], boot_script: str) -> str:
    """Return base64 user data: the settings as exports, then the boot script as it is.

    :raises pulumi.RunError: if it is over EC2's limit.
    """
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    text = "\n".join(["#!/bin/bash", *lines, boot_script]).encode()
    if len(text) > USER_DATA_LIMIT:
        raise pulumi.RunError(
            f"the user data has {len(text)} bytes; EC2 allows {USER_DATA_LIMIT}:"
            f" shorten {BOOT_SCRIPT}"
        )
    return base64.b64encode(text).decode()


def disk_gib(max_file_bytes: int, instance_types: Sequence[str]) -> int:
    """Return the disk size that never fills: input and output of one job for each vCPU."""
    jobs_at_once = max(vcpus(instance_type) for instance_type in instance_types)
    return SYSTEM_GIB + -(-2 * max_file_bytes * jobs_at_once // 2**30)


def vcpus(instance_type: str) -> int:
    """Return the most vCPUs that an instance type of this size has in any Arm family.

    Up to ``large`` that is 2, then 4 for every ``x``:
    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    size = instance_type.partition(".")[2]
    match = re.fullmatch(r"([0-9]*)xlarge", size)
    return 4 * int(match[1] or 1) if match else 2


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
