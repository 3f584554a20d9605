"""A Pulumi program runs against the emulator, and its failures are clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.deploy import DeployError, Deployment, Resource, configuration, deploy, own_settings
from local.system import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from local.account import Account

HEAD = """
import pulumi
import pulumi_aws as aws
config = pulumi.Config("mini")
"""


def run(account: Account, folder: Path, program: str, **config: str) -> Deployment:
    (folder / "Pulumi.yaml").write_text("name: mini\nruntime: python\n")
    (folder / "__main__.py").write_text(HEAD + program)
    # `python -m local.program` finds its package in the folder that it runs in.
    (folder / "local").symlink_to(PROJECT / "local")
    (folder / "jobs.py").symlink_to(PROJECT / "jobs.py")
    return deploy(folder, account, folder, {f"mini:{key}": value for key, value in config.items()})


def test_what_the_program_declares_is_created(account: Account, tmp_path: Path) -> None:
    program = """
class Part(pulumi.ComponentResource):
    def __init__(self):
        super().__init__("mini:index:Part", "part")
        self.queue = aws.sqs.Queue("q", visibility_timeout_seconds=config.require_int("wait"),
                                   opts=pulumi.ResourceOptions(parent=self))
pulumi.export("url", Part().queue.url)
pulumi.export("account", aws.get_caller_identity().account_id)
"""
    made = run(account, tmp_path, program, wait="77")
    assert made.exports["account"] == "000000000000"
    answer = account.client("sqs").get_queue_attributes(
        QueueUrl=made.exports["url"], AttributeNames=["VisibilityTimeout"]
    )
    assert answer["Attributes"] == {"VisibilityTimeout": "77"}
    assert made.find("aws:sqs/queue:Queue", name="q").id == made.exports["url"]


def test_the_laptop_knows_all_that_the_real_program_can_declare(
    account: Account, tmp_path: Path
) -> None:
    options = {
        "addendum:upload_origin": account.url,
        "addendum:domain": "files.example.org",
        "addendum:hosted_zone_id": "Z123",
        "addendum:api_access_logs": True,
        "addendum:alarm_email": "a@example.org",
        "addendum:spot": True,
    }
    made = deploy(PROJECT, account, tmp_path, configuration(options))
    assert made.exports["site_url"] == "https://files.example.org"


def test_an_unknown_type_names_the_place_to_add_it(account: Account, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"aws:sfn/activity:Activity \(a\): .*local/resources/"):
        run(account, tmp_path, 'aws.sfn.Activity("a")')


def test_an_unknown_question_names_the_place_to_answer_it(account: Account, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"getBillingServiceAccount.*data_sources\.py"):
        run(account, tmp_path, "aws.get_billing_service_account()")


def test_what_the_emulator_refuses_names_the_resource(account: Account, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"refuses aws:s3/bucket:Bucket b: .*InvalidBucketName"):
        run(account, tmp_path, 'aws.s3.Bucket("b", bucket="NO")')


def test_the_programs_own_error_is_its_message_alone(account: Account, tmp_path: Path) -> None:
    with pytest.raises(DeployError) as failure:
        run(account, tmp_path, 'raise pulumi.RunError("set mini:x")')
    assert str(failure.value) == "the program failed\nset mini:x"


def test_a_bug_in_the_program_shows_where(account: Account, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"(?s)__main__\.py.*ZeroDivisionError"):
        run(account, tmp_path, "1 / 0")


def test_later_configuration_counts_over_earlier() -> None:
    earlier, later = {"p:a": 1, "p:b": ["x"], "p:c": "text"}, {"p:a": True}
    assert configuration(earlier, later) == {"p:a": "true", "p:b": '["x"]', "p:c": "text"}


def test_the_developers_own_settings_are_those_of_the_local_stack(tmp_path: Path) -> None:
    assert own_settings(tmp_path) == {}
    (tmp_path / "Pulumi.local.yaml").write_text("config: {addendum:max_instances: 1}")
    assert own_settings(tmp_path) == {"addendum:max_instances": 1}


@pytest.mark.parametrize("text", ["", "# later", "encryptionsalt: v1", "config:"])
def test_a_stack_that_sets_nothing_has_no_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.local.yaml").write_text(text)
    assert own_settings(tmp_path) == {}


@pytest.mark.parametrize("text", ["{", "config: 1", "- a", "a"])
def test_settings_that_are_none_are_one_clear_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.local.yaml").write_text(text)
    with pytest.raises(DeployError, match=r"Pulumi\.local\.yaml must be a stack's settings"):
        own_settings(tmp_path)


def test_a_resource_that_is_not_there_is_an_error() -> None:
    queue = Resource("aws:sqs/queue:Queue", "q", "url", {})
    made = Deployment({}, [queue])
    assert made.find(queue.type, made="url") is queue
    with pytest.raises(LookupError, match="0 resources"):
        made.find(queue.type, name="another")
