"""The virtual machine as the launch template describes it."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest

import jobs
from chalicelib.fleet import Fleet, Template
from infra import fleet
from tests.infra.program import ROOT, STACK, Run
from tests.infra.unshown import as_list


def _template(run: Run) -> dict[str, Any]:
    return dict(run.one("LaunchTemplate").inputs)


@dataclass
class Ec2:
    """Keeps what it is asked to launch."""

    request: dict[str, Any] = field(default_factory=dict)

    def create_fleet(self, **request: Any) -> dict[str, Any]:
        self.request = request
        return {"Instances": [{"InstanceIds": ["i-1"]}]}


@pytest.mark.parametrize(("spot", "capacity"), [(True, "spot"), (False, "on-demand")])
def test_a_launch_asks_for_what_its_policy_allows(declared: Run, spot: bool, capacity: str) -> None:
    ec2 = Ec2()
    template = Template("lt-1", "7", ["t4g.small"], ["subnet-1"], spot)
    Fleet(ec2, stack=STACK, template=template).launch(1, occasion="now")
    assert ec2.request["TargetCapacitySpecification"]["DefaultTargetCapacityType"] == capacity
    assert ec2.request["SpotOptions"] == {"AllocationStrategy": "price-capacity-optimized"}
    wanted = {
        resource.split(":", 5)[5].removesuffix("/*")
        for one in declared.statements("stream-handler")
        if "aws:RequestTag" in json.dumps(one)
        for resource in as_list(one["Resource"])
        if one["Condition"]["StringEquals"] == {f"aws:RequestTag/{jobs.STACK_TAG}": STACK}
    }
    tags = {one["ResourceType"]: one["Tags"] for one in ec2.request["TagSpecifications"]}
    assert tags == {kind: [{"Key": jobs.STACK_TAG, "Value": STACK}] for kind in wanted}


def _user_data(run: Run) -> str:
    return base64.b64decode(_template(run)["userData"]).decode()


def test_the_image_is_the_newest_amazon_linux_for_arm(declared: Run) -> None:
    parameter = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    assert _template(declared)["imageId"] == f"resolve:ssm:{parameter}"


def test_power_off_means_terminate(declared: Run) -> None:
    assert _template(declared)["instanceInitiatedShutdownBehavior"] == "terminate"


def test_the_metadata_service_wants_a_token_and_answers_one_hop_away(declared: Run) -> None:
    options = _template(declared)["metadataOptions"]
    assert options["httpTokens"] == "required"
    assert options["httpPutResponseHopLimit"] == 1
    assert options["instanceMetadataTags"] == "disabled"


def test_group_and_public_address_stand_inside_the_interface(declared: Run) -> None:
    template = _template(declared)
    (interface,) = template["networkInterfaces"]
    assert interface["securityGroups"] == ["network-id"]
    assert interface["associatePublicIpAddress"] == "true"
    assert "subnetId" not in interface, "the fleet's overrides choose it"
    assert not {"vpcSecurityGroupIds", "securityGroupNames", "keyName"} & set(template)


def test_the_disk_is_encrypted_and_goes_with_its_machine(declared: Run) -> None:
    (mapping,) = _template(declared)["blockDeviceMappings"]
    disk = mapping["ebs"]
    assert (disk["volumeType"], disk["encrypted"]) == ("gp3", "true")
    assert disk["deleteOnTermination"] == "true"


@pytest.mark.parametrize(
    ("max_file_bytes", "types", "gib"),
    [
        (1, ["t4g.small"], 9),
        (2**30, ["t4g.small", "m7g.medium"], 12),
        (5 * 2**30, ["c7g.xlarge", "t4g.nano"], 48),
        (5 * 2**30, ["m7g.2xlarge"], 88),
    ],
)
def test_the_disk_holds_input_and_output_for_every_vcpu(
    max_file_bytes: int, types: list[str], gib: int
) -> None:
    assert fleet.disk_gib(max_file_bytes, types) == gib


def test_the_disk_follows_limit_and_types(everything: list[Run]) -> None:
    for each, gib in zip(everything, (12, 48), strict=True):
        (mapping,) = _template(each)["blockDeviceMappings"]
        assert mapping["ebs"]["volumeSize"] == gib


def test_spot_is_the_fleets_business_not_the_templates(changed: Run) -> None:
    """CreateFleet refuses a template with market options."""
    assert "instanceMarketOptions" not in _template(changed)
    for name in ("stream-handler", "reconciler"):
        variables = changed.one("Function", name).inputs["environment"]["variables"]
        assert variables[jobs.Env.SPOT] == "true"


def test_user_data_is_settings_then_the_boot_script_as_it_is(declared: Run) -> None:
    text = _user_data(declared)
    assert text.startswith("#!/bin/bash\nexport AWS_DEFAULT_REGION=eu-central-1\n")
    assert text.endswith((ROOT / "ec2_userdata/boot.sh").read_text())


def _commands(run: Run) -> str:
    lines = _user_data(run).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def test_the_machine_works_on_its_disk_not_in_memory(declared: Run) -> None:
    """/tmp on Amazon Linux 2023 is a RAM disk."""
    assert "/var/lib/addendum" in _commands(declared)
    assert "/tmp" not in _commands(declared)


def test_the_machine_ends_by_shutdown_only(declared: Run) -> None:
    """``halt`` stops the system without ending the instance."""
    words = set(_commands(declared).split())
    assert "shutdown" in words
    assert not {"halt", "poweroff", "reboot", "systemctl"} & words


def test_nothing_is_installed_when_a_machine_boots(declared: Run) -> None:
    """The endpoints lead to no package repository, and one that is down must stop no job."""
    words = set(_commands(declared).split())
    assert not {"dnf", "yum", "rpm", "pip", "pip3", "ensurepip", "curl", "wget"} & words


def test_the_settings_reach_a_shell_unharmed(changed: Run) -> None:
    exports = "".join(
        line + "\n" for line in _user_data(changed).splitlines() if line.startswith("export ADD")
    )
    shown = subprocess.run(
        ["bash", "-c", f"set -eu\n{exports}\nenv"], capture_output=True, text=True, check=True
    )
    variables = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    expected = {
        jobs.Env.TABLE: "FileTable",
        jobs.Env.BUCKET: "storage-data",
        jobs.Env.QUEUE_URL: "https://queues/storage-work",
        jobs.Env.FRESH_VM_PER_JOB: "true",
        jobs.Env.MAX_LIFE: "7200",
        jobs.Env.JOB_TIMEOUT: "1800",
        jobs.Env.FIRST_WAIT_SECONDS: str(jobs.FORM_SECONDS + 60),
        jobs.Env.IDLE_SECONDS: "30",
        jobs.Env.VISIBILITY_TIMEOUT: "60",
    }
    assert {key: variables[key] for key in expected} == expected


def test_hostile_settings_are_quoted() -> None:
    text = base64.b64decode(fleet.user_data({"NAME": "$(reboot); 'x'"}, "")).decode()
    shown = subprocess.run(
        ["bash", "-c", f'{text}\nprintf %s "$NAME"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "$(reboot); 'x'"


def test_user_data_over_ec2s_limit_is_one_clear_error() -> None:
    with pytest.raises(pulumi.RunError, match=r"16400 bytes; EC2 allows 16384.*boot\.sh"):
        fleet.user_data({}, "x" * (16400 - len("#!/bin/bash\n")))


def test_worker_and_script_have_keys_that_name_their_content(everything: list[Run]) -> None:
    for each in everything:
        worker = each.one("BucketObjectv2", "fleet-worker").inputs
        script = each.one("BucketObjectv2", "fleet-script").inputs
        assert worker["key"] == f"scripts/{Path(worker['source'].path).name}"
        assert worker["key"] in _user_data(each)
        assert script["key"] in _user_data(each)
    defaults, others = (each.one("BucketObjectv2", "fleet-script") for each in everything)
    assert defaults.inputs["key"] != others.inputs["key"]
    assert others.inputs["source"].path == "ec2_userdata/boot.sh"


def test_the_objects_are_there_before_the_template_that_names_them(declared: Run) -> None:
    template = declared.resources.index(declared.one("LaunchTemplate"))
    for name in ("fleet-worker", "fleet-script"):
        assert declared.resources.index(declared.one("BucketObjectv2", name)) < template


def test_only_worker_and_script_outlive_an_update(everything: list[Run]) -> None:
    """A machine that boots from the version before still finds its own."""
    for each in everything:
        assert each.retained == {"fleet-worker", "fleet-script"}


def test_functions_launch_an_explicit_version_of_the_template(declared: Run) -> None:
    for name in ("stream-handler", "reconciler"):
        variables = declared.one("Function", name).inputs["environment"]["variables"]
        assert variables[jobs.Env.LAUNCH_TEMPLATE_ID] == "fleet-id"
        assert variables[jobs.Env.LAUNCH_TEMPLATE_VERSION] == "7"
        assert variables[jobs.Env.SUBNET_IDS] == "network-0-id,network-1-id"
        assert variables[jobs.Env.INSTANCE_TYPES] == "t4g.small,t4g.medium,c7g.medium,m7g.medium"
