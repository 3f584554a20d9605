"""The tags that everything carries, so that cost and clean-up can be seen by stack.

The AWS provider's own ``default_tags`` would need an explicit provider, and that one
would not see the region, profile or role that an operator set under ``aws:``. So the
tags are put in by a stack transformation, which also covers what a later change adds.
https://www.pulumi.com/docs/iac/concepts/options/transformations/
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi


def apply_default_tags(tags: Mapping[str, str]) -> None:
    """Put ``tags`` on every AWS resource declared from now on that can have any."""

    def add_tags(
        resource: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if not resource.type_.startswith("aws:") or "tags" not in resource.props:
            return None
        props = {
            **resource.props,
            "tags": pulumi.Output.all(tags, resource.props["tags"] or {}).apply(_merged),
        }
        return pulumi.ResourceTransformationResult(props, resource.opts)

    pulumi.runtime.register_stack_transformation(add_tags)


def _merged(both: list[Mapping[str, str]]) -> dict[str, str]:
    default, own = both
    return {**default, **own}
