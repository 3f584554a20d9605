"""A small VPC of its own: public subnets, a way out, and nothing that lets anyone in."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.storage import Storage

ADDRESSES = ipaddress.ip_network("10.0.0.0/16")
EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class NetworkArgs:
    """Inputs of :class:`Network`."""

    availability_zones: int
    """How many zones to spread over, one public subnet in each."""
    storage: Storage
    """What the endpoints lead to."""


class Network(pulumi.ComponentResource):
    """VPC, subnets, internet gateway, routes, endpoints, security group.

    The machines reach AWS by public addresses of their own, so nothing is paid while
    there are none: a NAT gateway costs money by the hour, gateway endpoints cost nothing.
    """

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Network", name, None, opts)
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self)
        self._vpc = aws.ec2.Vpc(
            name,
            cidr_block=str(ADDRESSES),
            enable_dns_hostnames=True,
            enable_dns_support=True,
            opts=self._child,
        )
        self._routes = self._way_out()
        self._endpoint("s3", policies.through_s3_endpoint, bucket_arn=args.storage.bucket.arn)
        self._endpoint(
            "dynamodb", policies.through_dynamodb_endpoint, table_arn=args.storage.table.arn
        )
        subnets = self._subnets(args.availability_zones)
        group = self._security_group()
        self.subnet_ids = [subnet.id for subnet in subnets]
        self.subnet_arns = [subnet.arn for subnet in subnets]
        self.security_group_id = group.id
        self.security_group_arn = group.arn
        self.register_outputs({"subnet_ids": self.subnet_ids, "security_group_id": group.id})

    def _way_out(self) -> aws.ec2.RouteTable:
        gateway = aws.ec2.InternetGateway(self._name, vpc_id=self._vpc.id, opts=self._child)
        table = aws.ec2.RouteTable(self._name, vpc_id=self._vpc.id, opts=self._child)
        aws.ec2.Route(
            self._name,
            route_table_id=table.id,
            destination_cidr_block=EVERYWHERE,
            gateway_id=gateway.id,
            opts=self._child,
        )
        return table

    def _endpoint(
        self,
        service: str,
        policy: Callable[..., list[policies.Statement]],
        **arns: pulumi.Input[str],
    ) -> None:
        region = aws.get_region_output(opts=pulumi.InvokeOutputOptions(parent=self)).region
        aws.ec2.VpcEndpoint(
            f"{self._name}-{service}",
            vpc_id=self._vpc.id,
            vpc_endpoint_type="Gateway",
            service_name=pulumi.Output.concat("com.amazonaws.", region, f".{service}"),
            route_table_ids=[self._routes.id],
            policy=policies.as_json(policies.render(policy, **arns)),
            opts=self._child,
        )

    def _subnets(self, count: int) -> list[aws.ec2.Subnet]:
        # Local Zones are left out: they must be opted into, and lack most instance types.
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html
        zones = aws.get_availability_zones_output(
            state="available",
            filters=[
                aws.GetAvailabilityZonesFilterArgs(
                    name="opt-in-status", values=["opt-in-not-required"]
                )
            ],
            opts=pulumi.InvokeOutputOptions(parent=self),
        )
        names = zones.names.apply(lambda known: _enough(known, count))
        blocks = ADDRESSES.subnets(new_prefix=20)
        return [
            self._subnet(index, names[index], str(block))
            for index, block in zip(range(count), blocks, strict=False)
        ]

    def _subnet(self, index: int, zone: pulumi.Input[str], block: str) -> aws.ec2.Subnet:
        name = f"{self._name}-{index}"
        subnet = aws.ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            availability_zone=zone,
            cidr_block=block,
            opts=self._child,
        )
        aws.ec2.RouteTableAssociation(
            name, subnet_id=subnet.id, route_table_id=self._routes.id, opts=self._child
        )
        return subnet

    def _security_group(self) -> aws.ec2.SecurityGroup:
        # Security groups don't filter DNS, time and metadata of the VPC itself:
        # https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
        https = aws.ec2.SecurityGroupEgressArgs(
            description="AWS APIs",
            protocol="tcp",
            from_port=443,
            to_port=443,
            cidr_blocks=[EVERYWHERE],
        )
        return aws.ec2.SecurityGroup(
            self._name,
            vpc_id=self._vpc.id,
            description="Nothing in, HTTPS out",
            ingress=[],
            egress=[https],
            opts=self._child,
        )


def _enough(zones: list[str], count: int) -> list[str]:
    if len(zones) < count:
        raise pulumi.RunError(
            f"addendum:availability_zones is {count}, but this region has {len(zones)}"
            f" ({', '.join(zones)}). Lower it with: pulumi config set addendum:availability_zones"
        )
    return zones
