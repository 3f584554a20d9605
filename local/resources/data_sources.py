"""Answers what the Pulumi program asks about the account, one function a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from local.resources.declared import ACCOUNT_ID, CannotCreate

if TYPE_CHECKING:
    from local.account import Account

Answer = dict[str, Any]


def _caller_identity(_: Account, __: Mapping[str, Any]) -> Answer:
    return {"accountId": ACCOUNT_ID, "id": ACCOUNT_ID}


def _region(account: Account, _: Mapping[str, Any]) -> Answer:
    return {"region": account.region, "id": account.region}


def _partition(_: Account, __: Mapping[str, Any]) -> Answer:
    return {"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"}


def _availability_zones(account: Account, _: Mapping[str, Any]) -> Answer:
    zones = account.client("ec2").describe_availability_zones()["AvailabilityZones"]
    return {"names": sorted(zone["ZoneName"] for zone in zones), "id": account.region}


def _managed_policy(_: Account, asked: Mapping[str, Any]) -> Answer:
    """Answer for one of CloudFront's own policies; the front needs none."""
    return {"id": asked["name"], "name": asked["name"]}


ANSWERS: Mapping[str, Callable[[Account, Mapping[str, Any]], Answer]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:cloudfront/getCachePolicy:getCachePolicy": _managed_policy,
    "aws:cloudfront/getOriginRequestPolicy:getOriginRequestPolicy": _managed_policy,
}


def answer(account: Account, question: str, asked: Mapping[str, Any]) -> Answer:
    """Answer a question of the program, by Pulumi's name for it.

    :raises CannotCreate: if nothing here knows the answer.
    """
    if question not in ANSWERS:
        raise CannotCreate(
            f"the laptop cannot answer {question}: write a function for it in"
            " local/resources/data_sources.py"
        )
    return ANSWERS[question](account, asked)
