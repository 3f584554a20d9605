"""Addendum's infrastructure: the table of contents. Each part stands in ``infra/``."""

from pathlib import Path

import pulumi

import jobs
from infra import bundle, settings, tags
from infra.api import Api, ApiArgs
from infra.domain import Domain
from infra.fleet import Fleet, FleetArgs
from infra.monitoring import Monitoring, MonitoringArgs
from infra.network import Network, NetworkArgs
from infra.processor import Processor, ProcessorArgs
from infra.site import Site, SiteArgs
from infra.storage import Storage, StorageArgs, UploadAccess

config = settings.load()
uploads, machines, kept = config.uploads, config.machines, config.deletion_protection
runtime, log_days = config.lambda_runtime, config.log_retention_days
stack = f"{pulumi.get_project()}-{pulumi.get_stack()}"
tags.apply_default_tags({jobs.STACK_TAG: stack})

storage = Storage("storage", StorageArgs(uploads.retention_days, kept))
bucket, table = storage.bucket, storage.table
network = Network("network", NetworkArgs(config.availability_zones, bucket.arn, table.arn))
worker = FleetArgs(
    storage, stack, network.security_group_id, bundle.build(), machines, uploads.max_file_bytes
)
fleet = Fleet("fleet", worker)
api = Api("api", ApiArgs(storage, uploads, config.api, runtime, log_days))
launching = ProcessorArgs(stack, storage, network, fleet, machines, runtime, log_days)
processor = Processor("processor", launching)

domain = Domain("domain", config.domain) if config.domain.domain else None
upload_origin = config.upload_origin or storage.upload_origin
page = Path("static_site")
site = Site("site", SiteArgs(page, api.url, upload_origin, kept, domain))
UploadAccess("uploads", bucket.name, config.site_origins or [site.origin])
alerts = MonitoringArgs(stack, storage, api, processor, machines.max_life, config.alerts)
monitoring = Monitoring("monitoring", alerts)

pulumi.export("site_url", site.origin)
pulumi.export("api_url", api.url)
pulumi.export("dashboard_url", monitoring.dashboard_url)
pulumi.export("site_bucket", site.bucket.name)
pulumi.export("data_bucket", bucket.name)
pulumi.export("table", table.name)
pulumi.export("queue_url", storage.queue.url)
pulumi.export("dead_letter_queue_url", storage.dead_letter_queue.url)
pulumi.export("launch_template", fleet.template_id)
pulumi.export("api_function", api.function_name)
pulumi.export("log_groups", {**api.app.log_group_names, **processor.app.log_group_names})
