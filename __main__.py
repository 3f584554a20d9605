"""Addendum's infrastructure: the table of contents. Each part stands in ``infra/``."""

from pathlib import Path

import pulumi

import jobs
from infra import bundle, settings, tags
from infra.api import Api, ApiArgs
from infra.fleet import Fleet, FleetArgs
from infra.network import Network, NetworkArgs
from infra.processor import Processor, ProcessorArgs
from infra.site import Site, SiteArgs
from infra.storage import Storage, StorageArgs, UploadAccess

config = settings.load()
runtime = config.lambda_runtime
stack_tag = f"{pulumi.get_project()}-{pulumi.get_stack()}"
tags.apply_default_tags({jobs.STACK_TAG: stack_tag})

storage = Storage("storage", StorageArgs(config.uploads.retention_days, config.deletion_protection))
network = Network("network", NetworkArgs(config.availability_zones))
fleet = Fleet(
    "fleet",
    FleetArgs(
        storage,
        network.security_group_id,
        bundle.build(),
        config.machines,
        config.uploads.max_file_bytes,
    ),
)
api = Api("api", ApiArgs(storage, config.uploads, runtime))
processor = Processor(
    "processor", ProcessorArgs(stack_tag, storage, network, fleet, config.machines, runtime)
)
site = Site("site", SiteArgs(Path("static_site"), config.deletion_protection))
UploadAccess("uploads", storage.bucket.name, list(config.site_origins))

pulumi.export("site_bucket", site.bucket.name)
pulumi.export("data_bucket", storage.bucket.name)
pulumi.export("table", storage.table.name)
pulumi.export("queue_url", storage.queue.url)
pulumi.export("dead_letter_queue_url", storage.dead_letter_queue.url)
pulumi.export("api_function", api.function_name)
pulumi.export("api_url", api.url)
pulumi.export("launch_template", fleet.template_id)
