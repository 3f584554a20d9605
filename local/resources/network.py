"""The network: books only, since machines here are processes."""

from __future__ import annotations

from typing import Any

from local.resources.declared import Created, Declared


def vpc(declared: Declared) -> Created:
    """Create a VPC."""
    made = declared.client("ec2").create_vpc(CidrBlock=declared.inputs["cidrBlock"])["Vpc"]
    return _created(declared, "vpc", made["VpcId"])


def subnet(declared: Declared) -> Created:
    """Create a subnet."""
    made = declared.client("ec2").create_subnet(
        VpcId=declared.inputs["vpcId"],
        CidrBlock=declared.inputs["cidrBlock"],
        AvailabilityZone=declared.inputs["availabilityZone"],
    )["Subnet"]
    return _created(declared, "subnet", made["SubnetId"])


def internet_gateway(declared: Declared) -> Created:
    """Create an internet gateway and attach it."""
    client = declared.client("ec2")
    gateway = client.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    if vpc_id := declared.inputs.get("vpcId"):
        client.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc_id)
    return _created(declared, "internet-gateway", gateway)


def route_table(declared: Declared) -> Created:
    """Create a route table with the routes in it."""
    client = declared.client("ec2")
    made = client.create_route_table(VpcId=declared.inputs["vpcId"])["RouteTable"]["RouteTableId"]
    for rule in declared.inputs.get("routes") or []:
        _route(client, made, rule["cidrBlock"], rule["gatewayId"])
    return _created(declared, "route-table", made)


def route(declared: Declared) -> Created:
    """Create a route to an internet gateway."""
    inputs = declared.inputs
    target, block = inputs["routeTableId"], inputs["destinationCidrBlock"]
    _route(declared.client("ec2"), target, block, inputs["gatewayId"])
    return Created(f"r-{target}-{block}", {})


def _route(client: Any, table: str, block: str, gateway: str) -> None:
    client.create_route(RouteTableId=table, DestinationCidrBlock=block, GatewayId=gateway)


def route_table_association(declared: Declared) -> Created:
    """Give a subnet its route table."""
    made = declared.client("ec2").associate_route_table(
        RouteTableId=declared.inputs["routeTableId"], SubnetId=declared.inputs["subnetId"]
    )
    return Created(made["AssociationId"], {})


def security_group(declared: Declared) -> Created:
    """Create a security group; its rules would filter nothing here."""
    name = declared.physical_name()
    made = declared.client("ec2").create_security_group(
        GroupName=name,
        Description=declared.inputs.get("description") or "Managed by Pulumi",
        VpcId=declared.inputs["vpcId"],
    )
    return _created(declared, "security-group", made["GroupId"])


def vpc_endpoint(declared: Declared) -> Created:
    """Create a gateway endpoint."""
    made = declared.client("ec2").create_vpc_endpoint(
        VpcId=declared.inputs["vpcId"],
        ServiceName=declared.inputs["serviceName"],
        VpcEndpointType=declared.inputs.get("vpcEndpointType") or "Gateway",
        RouteTableIds=declared.inputs.get("routeTableIds") or [],
    )["VpcEndpoint"]
    return _created(declared, "vpc-endpoint", made["VpcEndpointId"])


def _created(declared: Declared, kind: str, made: str) -> Created:
    return Created(made, {"arn": declared.arn("ec2", f"{kind}/{made}")})


CREATE = {
    "aws:ec2/vpc:Vpc": vpc,
    "aws:ec2/subnet:Subnet": subnet,
    "aws:ec2/internetGateway:InternetGateway": internet_gateway,
    "aws:ec2/routeTable:RouteTable": route_table,
    "aws:ec2/route:Route": route,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": route_table_association,
    "aws:ec2/securityGroup:SecurityGroup": security_group,
    "aws:ec2/vpcEndpoint:VpcEndpoint": vpc_endpoint,
}
