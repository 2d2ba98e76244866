"""A plan as text: steps with predicted and actual seconds, and what would have cost more."""

from __future__ import annotations

from flor.intermediate.planning.plan import Plan, Step


def text(plan: Plan) -> str:
    """Return a plan as a small table."""
    rows: list[tuple[str, ...]] = [("step", "layer", "rows", "how", "predicted", "actual")]
    rows += [_row(step) for step in plan.steps]
    widths = [max(len(row[at]) for row in rows) for at in range(6)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows]  # fmt: skip
    lines.append(f"total: predicted {seconds(plan.seconds)}, actual {seconds(plan.actual)}")
    if plan.rejected:
        others = ", ".join(f"{name} {seconds(cost)}" for name, cost in plan.rejected)
        lines.append(f"instead of: {others}")
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """Return a duration as people write it."""
    if value is None:
        return "-"
    if value == float("inf"):
        return "impossible"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _row(step: Step) -> tuple[str, ...]:
    if step.kept is not None:
        off = (
            "exact"
            if step.kept.code == "exact"
            else f"{step.kept.code}, within {step.kept.error:.3g}"
        )
        how = f"a kept copy, {off}"
        if step.way == "bounds":
            how += "; undecided rows exactly"
    else:
        how = "from " + (", ".join(step.given) or "the input")
    return (step.way, step.layer, str(step.count), how, seconds(step.seconds), seconds(step.actual))
