"""A plan: frozen steps, each with its reason, decided before anything is done and readable by a person.

The planner reads facts once and returns a Plan; `orlop.engine.executor` does the steps one by one. A plan is stored
as the intent before its first step, so it must say by itself everything that finishing or undoing it needs: step
arguments are plain strings.
"""

from collections.abc import Mapping
from dataclasses import field

from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    action: str  # "layer.prepare"; what does it is registered with the executor
    subject: str  # the id or name the step is about
    reason: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    operation: str  # "container.create"
    subject: str
    steps: tuple[Step, ...]


def render_plan(plan: Plan) -> str:
    """The plan as `--dry-run` prints it: one line a step."""
    lines = [f"{plan.operation} {plan.subject}"]
    lines += [f"  {step.action} {step.subject}: {step.reason}" for step in plan.steps]
    return "\n".join(lines)
