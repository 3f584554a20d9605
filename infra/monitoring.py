"""What tells an operator that something is wrong, and the page to look at then.

``docs/operations.md`` says for each alarm what it means and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

import metrics
from infra import dashboard
from infra.api import Api
from infra.processor import Processor
from infra.settings import Alerts
from infra.storage import Storage


@dataclass(frozen=True)
class MonitoringArgs:
    """Inputs of :class:`Monitoring`."""

    stack: str
    storage: Storage
    api: Api
    processor: Processor
    max_life: int
    """Seconds that a virtual machine may live: a message that waits longer is stuck."""
    alerts: Alerts


@dataclass(frozen=True)
class Alarm:
    """When to ring: ``statistic`` of a metric over ``period`` seconds reaches ``threshold``."""

    description: str
    namespace: str
    metric: str
    dimensions: Mapping[str, pulumi.Input[str]]
    statistic: str = "Sum"
    threshold: float = 1
    period: int = 300


class Monitoring(pulumi.ComponentResource):
    """Alarms, the topic they write to, a dashboard, and a budget."""

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Monitoring", name, None, opts)
        self._name = name
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        functions = {**args.processor.app.functions, **args.api.app.functions}
        self.functions = {key: each.name for key, each in sorted(functions.items())}
        self._topic = aws.sns.Topic(name, opts=self._child)
        alarms = [self._alarm(key, alarm) for key, alarm in self._alarms().items()]
        board = self._dashboard(alarms)
        self.dashboard_url = self._url_of(board)
        if args.alerts.alarm_email:
            self._write_to(args.alerts.alarm_email, args.alerts.monthly_budget_usd)
        self.register_outputs({"dashboard_url": self.dashboard_url})

    def _alarms(self) -> Mapping[str, Alarm]:
        return {**self._queue_alarms(), **self._function_alarms(), **self._service_alarms()}

    def _queue_alarms(self) -> Mapping[str, Alarm]:
        storage, functions = self._args.storage, self.functions
        return {
            # Not the queue's length: its handler empties it at once.
            "dead-letters": Alarm(
                "A job was given up by the queue",
                "AWS/Lambda",
                "Invocations",
                {"FunctionName": functions["dead_letter_handler"]},
            ),
            "dead-letters-stuck": Alarm(
                "Dead letters wait: their handler does not take them",
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage",
                {"QueueName": storage.dead_letter_queue.name},
                statistic="Maximum",
                threshold=3600,
            ),
            "oldest-message": Alarm(
                "A job waits for longer than a machine lives",
                "AWS/SQS",
                "ApproximateAgeOfOldestMessage",
                {"QueueName": storage.queue.name},
                statistic="Maximum",
                threshold=self._args.max_life,
            ),
        }

    def _function_alarms(self) -> Mapping[str, Alarm]:
        alarms = {}
        for key, name in self.functions.items():
            for metric, word in (("Errors", "fails"), ("Throttles", "is throttled")):
                alarms[f"{key.replace('_', '-')}-{metric.lower()}"] = Alarm(
                    f"The function {key} {word}", "AWS/Lambda", metric, {"FunctionName": name}
                )
        return alarms

    def _service_alarms(self) -> Mapping[str, Alarm]:
        api = self._args.api
        return {
            "api-5xx": Alarm(
                "The API answers with server errors",
                "AWS/ApiGateway",
                "5XXError",
                {"ApiName": api.rest_api.name, "Stage": api.stage_name},
            ),
            "past-life": Alarm(
                "A virtual machine outlived its life and had to be terminated",
                metrics.namespace(self._args.stack),
                metrics.INSTANCES_PAST_LIFE,
                {},
            ),
        }

    def _alarm(self, key: str, alarm: Alarm) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            f"{self._name}-{key}",
            alarm_description=alarm.description,
            namespace=alarm.namespace,
            metric_name=alarm.metric,
            dimensions=alarm.dimensions,
            statistic=alarm.statistic,
            period=alarm.period,
            evaluation_periods=1,
            threshold=alarm.threshold,
            comparison_operator="GreaterThanOrEqualToThreshold",
            # Most of these metrics are only there when something happens.
            treat_missing_data="notBreaching",
            alarm_actions=[self._topic.arn],
            ok_actions=[self._topic.arn],
            opts=self._child,
        )

    def _dashboard(self, alarms: list[aws.cloudwatch.MetricAlarm]) -> aws.cloudwatch.Dashboard:
        args = self._args
        body = pulumi.Output.all(
            namespace=metrics.namespace(args.stack),
            region=self._region(),
            alarm_arns=[alarm.arn for alarm in alarms],
            functions=self.functions,
            queue=args.storage.queue.name,
            dead_letter_queue=args.storage.dead_letter_queue.name,
            table=args.storage.table.name,
            api=args.api.rest_api.name,
            stage=args.api.stage_name,
        ).apply(_dashboard_json)
        return aws.cloudwatch.Dashboard(
            self._name, dashboard_name=args.stack, dashboard_body=body, opts=self._child
        )

    def _region(self) -> pulumi.Output[str]:
        return aws.get_region_output(opts=pulumi.InvokeOutputOptions(parent=self)).region

    def _url_of(self, board: aws.cloudwatch.Dashboard) -> pulumi.Output[str]:
        return pulumi.Output.format(
            "https://{0}.console.aws.amazon.com/cloudwatch/home?region={0}#dashboards:name={1}",
            self._region(),
            board.dashboard_name,
        )

    def _write_to(self, address: str, monthly_budget_usd: int) -> None:
        aws.sns.TopicSubscription(
            self._name,
            topic=self._topic.arn,
            protocol="email",
            endpoint=address,
            opts=self._child,
        )
        # The whole account's cost: by tag it would be zero until the tag is activated.
        # https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html
        aws.budgets.Budget(
            self._name,
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(monthly_budget_usd),
            limit_unit="USD",
            notifications=[_notification(kind, address) for kind in ("ACTUAL", "FORECASTED")],
            opts=self._child,
        )


def _dashboard_json(known: Mapping[str, Any]) -> str:
    return dashboard.body(**known)


def _notification(kind: str, address: str) -> aws.budgets.BudgetNotificationArgs:
    return aws.budgets.BudgetNotificationArgs(
        notification_type=kind,
        comparison_operator="GREATER_THAN",
        threshold=100,
        threshold_type="PERCENTAGE",
        subscriber_email_addresses=[address],
    )
