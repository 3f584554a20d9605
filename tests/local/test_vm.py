"""The host boots what EC2's books say, and cuts its power when they say so."""

from __future__ import annotations

import base64
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec

import psutil
import pytest

import jobs
from local.cage import Cage
from local.metadata import MetadataService
from local.vm import Host, Machine
from local.waiting import wait_until
from tests.local.conftest import names_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.account import Account

    Launch = Callable[[str], Machine]

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@pytest.fixture(scope="session")
def profile_arn(account: Account) -> str:
    """An instance profile whose role may do nothing."""
    iam = account.client("iam")
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(TRUST))
    made = iam.create_instance_profile(InstanceProfileName="machine")["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")
    arn: str = made["Arn"]
    return arn


class Fleet:
    """Launches machines with user data of our own."""

    def __init__(self, account: Account, host: Host, template: str, tag: str) -> None:
        self.account = account
        self.host = host
        self._template = template
        self._tag = tag

    def launch(self, user_data: str) -> Machine:
        ec2 = self.account.client("ec2")
        ec2.create_launch_template_version(
            LaunchTemplateId=self._template,
            SourceVersion="1",
            LaunchTemplateData={"UserData": base64.b64encode(user_data.encode()).decode()},
        )
        answer = ec2.create_fleet(
            Type="instant",
            LaunchTemplateConfigs=[
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": self._template,
                        "Version": "$Latest",
                    }
                }
            ],
            TargetCapacitySpecification={
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": "on-demand",
            },
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": jobs.STACK_TAG, "Value": self._tag}],
                }
            ],
        )
        return self._booted(answer["Instances"][0]["InstanceIds"][0])

    def _booted(self, instance_id: str) -> Machine:
        def found() -> list[Machine]:
            return [one for one in self.host.machines() if one.instance_id == instance_id]

        wait_until(lambda: bool(found()), seconds=10, what="the boot")
        return found()[0]

    def state(self, machine: Machine) -> str:
        answer = self.account.client("ec2").describe_instances(InstanceIds=[machine.instance_id])
        state: str = answer["Reservations"][0]["Instances"][0]["State"]["Name"]
        return state

    def is_gone(self, machine: Machine) -> bool:
        return machine not in self.host.machines() and not psutil.pid_exists(machine.pid)

    def await_end(self, machine: Machine) -> None:
        wait_until(lambda: self.is_gone(machine), seconds=10, what="the machine's end")
        assert self.state(machine) in ("shutting-down", "terminated")


@pytest.fixture
def fleet(
    account: Account, profile_arn: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Fleet]:
    name = request.node.name
    template = account.client("ec2").create_launch_template(
        LaunchTemplateName=f"template-of-{abs(hash(name))}",
        LaunchTemplateData={"IamInstanceProfile": {"Arn": profile_arn}},
    )["LaunchTemplate"]["LaunchTemplateId"]
    host = Host(account, template, (jobs.STACK_TAG, name), tmp_path)
    host.start()
    yield Fleet(account, host, template, name)
    host.stop()
    assert host.loop.error is None


def test_a_machine_sees_its_own_world_and_nothing_of_ours(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the-developers-own")
    monkeypatch.setenv("SECRET_OF_OURS", "1")
    machine = fleet.launch('env >"$ADDENDUM_ROOT/env.new"; mv "$ADDENDUM_ROOT"/env{.new,}')
    file = machine.root / "env"
    wait_until(file.exists, seconds=10, what="the listing")
    seen = dict(line.partition("=")[::2] for line in file.read_text().splitlines())
    assert {name for name in seen if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    }
    assert "SECRET_OF_OURS" not in seen
    assert seen["PATH"].split(os.pathsep)[0] == str(machine.folder / "bin")
    assert machine.root.stat().st_mode & 0o777 == 0o711


def test_a_machine_has_the_credentials_of_its_role(fleet: Fleet) -> None:
    machine = fleet.launch(
        "AWS_DEFAULT_REGION=us-east-1 aws sts get-caller-identity; shutdown -h now"
    )
    fleet.await_end(machine)
    said = json.loads(fleet.host.log(machine.instance_id))
    assert said["Arn"].endswith(f":assumed-role/machine/{machine.instance_id}")


def test_a_power_off_terminates_the_instance_and_kills_what_runs(fleet: Fleet) -> None:
    machine = fleet.launch("setsid sleep 600 & echo bye; shutdown -h now; sleep 600")
    fleet.await_end(machine)
    assert fleet.host.log(machine.instance_id) == "bye\n"


def test_a_machine_whose_cage_is_killed_has_lost_its_power(fleet: Fleet) -> None:
    machine = fleet.launch("sleep 600; exit")
    wait_until(lambda: names_below(machine.pid) == ["bash", "sleep"], seconds=10, what="the boot")
    family = psutil.Process(machine.pid).children(recursive=True)
    os.kill(machine.pid, signal.SIGKILL)
    fleet.await_end(machine)
    psutil.wait_procs(family, timeout=5)
    assert not any(process.is_running() for process in family)


def test_a_machine_without_power_off_runs_on_until_the_armed_one(fleet: Fleet) -> None:
    machine = fleet.launch("shutdown -h +60; setsid sleep 600 & exit 1")
    wait_until(lambda: names_below(machine.pid) == ["sleep"], seconds=10, what="the script's end")
    assert fleet.state(machine) == "running"
    (machine.folder / "power-off-at").write_text("1")
    fleet.await_end(machine)


def test_terminating_an_instance_kills_its_machine(fleet: Fleet) -> None:
    machine = fleet.launch("setsid sleep 600 & sleep 600")
    fleet.account.client("ec2").terminate_instances(InstanceIds=[machine.instance_id])
    fleet.await_end(machine)


def test_a_killed_machine_is_terminated_and_never_boots_again(fleet: Fleet) -> None:
    machine = fleet.launch("echo once; setsid sleep 600 & sleep 600")
    wait_until(
        lambda: names_below(machine.pid) == ["bash", "sleep", "sleep"], seconds=10, what="boot"
    )
    fleet.host.kill(machine.instance_id)
    assert fleet.is_gone(machine)
    fleet.await_end(machine)
    another = fleet.launch("sleep 600")
    assert fleet.host.machines() == [another]


@pytest.mark.parametrize("closed", ["root", "root/job"])
def test_a_machine_whose_script_closed_a_folder_ends_like_any_other(
    home: Path, closed: str
) -> None:
    (home / "root" / "job" / "inner").mkdir(parents=True)
    (home / closed).chmod(0)
    metadata, cage = (create_autospec(part, instance=True) for part in (MetadataService, Cage))
    Machine("i-1", home, metadata, cage).end()
    assert list(home.iterdir()) == []


def test_a_spot_notice_is_followed_by_the_end(fleet: Fleet) -> None:
    machine = fleet.launch("sleep 600")
    fleet.host.spot_notice(machine.instance_id, seconds=0.2)
    assert machine.metadata.look_up("meta-data/spot/instance-action") is not None
    fleet.await_end(machine)


def test_instances_of_another_stack_are_none_of_our_business(fleet: Fleet, tmp_path: Path) -> None:
    other = Host(fleet.account, "lt-unused", (jobs.STACK_TAG, "another"), tmp_path / "other")
    other.start()
    machine = fleet.launch("sleep 600")
    fleet.host.kill(machine.instance_id)
    assert other.machines() == []
    other.stop()
    assert other.loop.error is None


def test_stopping_the_host_ends_every_machine(fleet: Fleet) -> None:
    machines: list[Any] = [fleet.launch("sleep 600"), fleet.launch("sleep 600")]
    fleet.host.stop()
    assert all(fleet.is_gone(machine) for machine in machines)
