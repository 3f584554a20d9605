"""The network: a way out, no way in, and endpoints for this stack's own things only."""

from __future__ import annotations

import ipaddress

import pytest

from tests.infra.program import Run, run


def test_every_zone_asked_for_has_a_public_subnet_of_its_own(everything: list[Run]) -> None:
    for each, count in zip(everything, (2, 3), strict=True):
        subnets = each.all("Subnet")
        assert len({one.inputs["availabilityZone"] for one in subnets}) == count == len(subnets)
        blocks = [ipaddress.ip_network(one.inputs["cidrBlock"]) for one in subnets]
        assert not any(a.overlaps(b) for a in blocks for b in blocks if a is not b)
        assert len(each.all("RouteTableAssociation")) == count


def test_the_way_out_is_an_internet_gateway_and_nothing_that_costs_by_the_hour(
    declared: Run,
) -> None:
    route = declared.one("Route").inputs
    assert (route["destinationCidrBlock"], route["gatewayId"]) == ("0.0.0.0/0", "network-id")
    assert declared.all("NatGateway") == declared.all("Eip") == []


def test_nothing_gets_in_and_only_https_gets_out(declared: Run) -> None:
    """A Pulumi security group without ``egress`` would let nothing out."""
    group = declared.one("SecurityGroup").inputs
    assert group["ingress"] == []
    (out,) = group["egress"]
    assert (out["protocol"], out["fromPort"], out["toPort"]) == ("tcp", 443, 443)
    assert out["cidrBlocks"] == ["0.0.0.0/0"]


def test_the_endpoints_lead_to_this_stacks_bucket_and_table_only(declared: Run) -> None:
    s3, dynamodb = declared.one("VpcEndpoint", "s3"), declared.one("VpcEndpoint", "dynamodb")
    for endpoint, service in ((s3, "s3"), (dynamodb, "dynamodb")):
        assert endpoint.inputs["vpcEndpointType"] == "Gateway"
        assert endpoint.inputs["routeTableIds"] == ["network-id"]
        assert endpoint.inputs["serviceName"] == f"com.amazonaws.eu-central-1.{service}"
    (objects,) = s3.json("policy")["Statement"]
    assert objects["Resource"] == ["arn:aws:s3:::storage-data", "arn:aws:s3:::storage-data/*"]
    (items,) = dynamodb.json("policy")["Statement"]
    assert items["Resource"].endswith("table/FileTable")


def test_the_endpoints_let_through_all_that_a_machine_may_do(declared: Run) -> None:
    """A policy that is narrower than the role would break every job."""
    allowed = {
        action
        for endpoint in declared.all("VpcEndpoint")
        for statement in endpoint.json("policy")["Statement"]
        for action in statement["Action"]
    }
    wanted = {
        action
        for statement in declared.statements("fleet")
        for action in statement["Action"]
        if action.startswith(("s3:", "dynamodb:"))
    }
    assert allowed == wanted


def test_more_zones_than_the_region_has_is_one_clear_error() -> None:
    with pytest.raises(Exception, match="availability_zones is 6, but this region has 3"):
        run({"availability_zones": 6})
