"""The processor: its three functions and the events that call them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

import jobs
from infra import policies
from infra.chalice_app import ChaliceApp, ChaliceAppArgs, FunctionArgs
from infra.fleet import IMAGE_PARAMETER, Fleet
from infra.network import Network
from infra.settings import Functions, Machines
from infra.storage import DEAD_LETTER_VISIBILITY_SECONDS, Storage

STREAM_BATCH_SIZE = 100
STREAM_WINDOW_SECONDS = 1


@dataclass(frozen=True)
class ProcessorArgs:
    """Inputs of :class:`Processor`."""

    stack: str
    storage: Storage
    network: Network
    fleet: Fleet
    machines: Machines
    functions: Functions


class Processor(pulumi.ComponentResource):
    """The Chalice app of ``processor/`` with its event sources."""

    def __init__(
        self, name: str, args: ProcessorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Processor", name, None, opts)
        self._name = name
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self.app = ChaliceApp(
            name,
            ChaliceAppArgs(
                folder=Path("processor"),
                functions=self._functions(),
                runtime=args.functions.lambda_runtime,
                log_retention_days=args.functions.log_retention_days,
            ),
            self._child,
        )
        self._on_new_records()
        self._every_minute()
        self._on_dead_letters()
        self.register_outputs({})

    def _functions(self) -> Mapping[str, FunctionArgs]:
        args, storage = self._args, self._args.storage
        launch = policies.render(
            policies.launch,
            stack_tag=args.stack,
            template_arn=args.fleet.template_arn,
            subnet_arns=args.network.subnet_arns,
            security_group_arn=args.network.security_group_arn,
            role_arn=args.fleet.role_arn,
            image_parameter=IMAGE_PARAMETER,
            spot=args.machines.spot,
        )
        compare = policies.render(
            policies.compare, queue_arn=storage.queue.arn, table_arn=storage.table.arn
        )
        terminate = policies.render(
            policies.terminate, stack_tag=args.stack, template_arn=args.fleet.template_arn
        )
        stream = policies.render(policies.read_stream, stream_arn=storage.table.stream_arn)
        dead_letters = policies.render(
            policies.read_dead_letters,
            dead_letter_queue_arn=storage.dead_letter_queue.arn,
            table_arn=storage.table.arn,
        )
        return {
            "stream_handler": FunctionArgs(self._environment(), _joined(stream, compare, launch)),
            "reconciler": FunctionArgs(self._environment(), _joined(compare, launch, terminate)),
            "dead_letter_handler": FunctionArgs(
                {jobs.Env.STACK: self._args.stack, jobs.Env.TABLE: storage.table.name},
                dead_letters,
            ),
        }

    def _environment(self) -> Mapping[str, pulumi.Input[str]]:
        args, machines = self._args, self._args.machines
        return {
            jobs.Env.TABLE: args.storage.table.name,
            jobs.Env.QUEUE_URL: args.storage.queue.url,
            jobs.Env.STACK: args.stack,
            jobs.Env.BACKLOG_PER_INSTANCE: str(machines.backlog_per_instance),
            jobs.Env.FRESH_VM_PER_JOB: str(machines.fresh_vm_per_job).lower(),
            jobs.Env.MAX_INSTANCES: str(machines.max_instances),
            jobs.Env.MAX_LIFE: str(machines.max_life),
            jobs.Env.LAUNCH_TEMPLATE_ID: args.fleet.template_id,
            jobs.Env.LAUNCH_TEMPLATE_VERSION: args.fleet.template_version,
            jobs.Env.INSTANCE_TYPES: ",".join(machines.instance_types),
            jobs.Env.SUBNET_IDS: pulumi.Output.all(*args.network.subnet_ids).apply(",".join),
            jobs.Env.SPOT: str(machines.spot).lower(),
        }

    def _on_new_records(self) -> None:
        """Call the stream handler for new records: a hint, so it is soon given up."""
        inserts = aws.lambda_.EventSourceMappingFilterCriteriaArgs(
            filters=[
                aws.lambda_.EventSourceMappingFilterCriteriaFilterArgs(
                    pattern=json.dumps({"eventName": ["INSERT"]})
                )
            ]
        )
        aws.lambda_.EventSourceMapping(
            f"{self._name}-stream",
            event_source_arn=self._args.storage.table.stream_arn,
            function_name=self.app.functions["stream_handler"].arn,
            # LATEST can miss records while the mapping starts or changes:
            # https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html
            starting_position="TRIM_HORIZON",
            batch_size=STREAM_BATCH_SIZE,
            maximum_batching_window_in_seconds=STREAM_WINDOW_SECONDS,
            maximum_retry_attempts=2,
            maximum_record_age_in_seconds=60,
            filter_criteria=inserts,
            opts=self._child,
        )

    def _every_minute(self) -> None:
        reconciler = self.app.functions["reconciler"]
        name = f"{self._name}-minute"
        rule = aws.cloudwatch.EventRule(
            name, schedule_expression="rate(1 minute)", opts=self._child
        )
        permission = aws.lambda_.Permission(
            name,
            function=reconciler.name,
            action="lambda:InvokeFunction",
            principal="events.amazonaws.com",
            source_arn=rule.arn,
            opts=self._child,
        )
        # The next minute is the retry.
        aws.cloudwatch.EventTarget(
            name,
            rule=rule.name,
            arn=reconciler.arn,
            retry_policy=aws.cloudwatch.EventTargetRetryPolicyArgs(
                maximum_retry_attempts=0, maximum_event_age_in_seconds=60
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        # EventBridge hands the event to Lambda's own queue, which retries by itself:
        # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
        aws.lambda_.FunctionEventInvokeConfig(
            name,
            function_name=reconciler.name,
            maximum_retry_attempts=0,
            maximum_event_age_in_seconds=60,
            opts=self._child,
        )

    def _on_dead_letters(self) -> None:
        timeout = self.app.timeouts["dead_letter_handler"]
        if 6 * timeout > DEAD_LETTER_VISIBILITY_SECONDS:
            raise pulumi.RunError(
                f"the dead-letter handler's timeout is {timeout} s; it may be a sixth of its"
                f" queue's visibility timeout, {DEAD_LETTER_VISIBILITY_SECONDS} s: raise that too"
            )
        aws.lambda_.EventSourceMapping(
            f"{self._name}-dead-letters",
            event_source_arn=self._args.storage.dead_letter_queue.arn,
            function_name=self.app.functions["dead_letter_handler"].arn,
            batch_size=10,
            opts=self._child,
        )


def _joined(
    *lists: pulumi.Output[list[policies.Statement]],
) -> pulumi.Output[list[policies.Statement]]:
    return pulumi.Output.all(*lists).apply(lambda known: [one for each in known for one in each])
