"""Addendum's infrastructure: the table of contents. Each part stands in ``infra/``."""

from pathlib import Path

import pulumi

import jobs
from infra import settings, tags
from infra.api import Api, ApiArgs
from infra.domain import Domain
from infra.fleet import Fleet, FleetArgs
from infra.monitoring import Monitoring, MonitoringArgs
from infra.network import Network, NetworkArgs
from infra.processor import Processor, ProcessorArgs
from infra.site import Site, SiteArgs
from infra.storage import Storage, StorageArgs, UploadAccess

config = settings.load()
uploads, machines, functions = config.uploads, config.machines, config.functions
keep = config.deletion_protection
stack = f"{pulumi.get_project()}-{pulumi.get_stack()}"
tags.apply_default_tags({jobs.STACK_TAG: stack})

storage = Storage("storage", StorageArgs(uploads.retention_days, keep))
network = Network("network", NetworkArgs(config.availability_zones, storage))
fleet = Fleet("fleet", FleetArgs(stack, storage, network, uploads, machines))
api = Api("api", ApiArgs(stack, storage, uploads, config.api, functions))
launching = ProcessorArgs(stack, storage, network, fleet, machines, functions)
processor = Processor("processor", launching)

domain = Domain("domain", config.domain) if config.domain.domain else None
upload_origin = config.upload_origin or storage.upload_origin
page = SiteArgs(Path("static_site"), api.url, upload_origin, keep, domain)
site = Site("site", page)
UploadAccess("uploads", storage.bucket.name, config.site_origins or [site.origin])
watched = MonitoringArgs(stack, storage, api, processor, machines.max_life, config.alerts)
monitoring = Monitoring("monitoring", watched)

pulumi.export("site_url", site.origin)
pulumi.export("api_url", api.url)
pulumi.export("dashboard_url", monitoring.dashboard_url)
pulumi.export("site_bucket", site.bucket.name)
pulumi.export("data_bucket", storage.bucket.name)
pulumi.export("table", storage.table.name)
pulumi.export("queue_url", storage.queue.url)
pulumi.export("dead_letter_queue_url", storage.dead_letter_queue.url)
pulumi.export("launch_template", fleet.template_id)
pulumi.export("api_function", api.function_name)
pulumi.export("log_groups", {**api.app.log_group_names, **processor.app.log_group_names})
