"""Ten pipelines of 9 to 19 stages, each with five settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from benchmarks.pipelines.steps import (
    add_age,
    add_dates,
    add_missing,
    add_neighbours,
    add_place,
    add_ratios,
    add_rooms,
    blend,
    by_date,
    clip,
    drop_columns,
    drop_constant,
    drop_missing,
    drop_outliers,
    encode_frequency,
    encode_labels,
    encode_one_hot,
    encode_target,
    features,
    fill_by_place,
    fill_counts,
    fill_median,
    fill_text,
    fill_value,
    join,
    logarithms,
    only_homes,
    plain_types,
    predict,
    project,
    residuals,
    scale,
    split,
    target,
    together,
    train_boosted,
    train_linear,
)

Frame = pd.DataFrame
Settings = dict[str, Any]
TEXT = ["zoning", "land_use_code"]
VALUES = ["structure_value", "land_value", "tax_value", "tax_amount"]


def plain_boosting(properties: Frame, sales: Frame, *, rate: float, leaves: int) -> Any:
    table = fill_text(join(sales, properties))
    table = plain_types(encode_labels(table))
    table = fill_value(drop_missing(table, 0.99), -1.0)
    x, y = features(table), target(table)
    model = train_boosted(x, y, learning_rate=rate, max_leaf_nodes=leaves, max_iter=40)
    return residuals(y, predict(model, x))


def least_squares(properties: Frame, sales: Frame, *, limit: float) -> Any:
    table = drop_columns(join(sales, properties), TEXT)
    table = drop_outliers(table, limit)
    table = drop_missing(plain_types(encode_labels(table)), 0.6)
    table = fill_median(table)
    x, y = features(table), target(table)
    model = train_linear(x, y, "least squares")
    return residuals(y, predict(model, x))


def scaled_ridge(properties: Frame, sales: Frame, *, alpha: float) -> Any:
    homes = add_ratios(add_age(fill_counts(properties)))
    table = drop_missing(join(sales, homes), 0.5)
    table = plain_types(encode_labels(fill_text(table)))
    table = drop_constant(fill_median(table))
    y = target(table)
    x, _ = scale(features(table))
    model = train_linear(x, y, "ridge", alpha)
    return residuals(y, predict(model, x))


def dated_boosting(properties: Frame, sales: Frame, *, rate: float, month: int) -> Any:
    table = add_dates(join(sales, add_rooms(add_age(properties))))
    table = encode_labels(fill_text(drop_missing(add_missing(table), 0.98)))
    table = drop_columns(table, ["last_assessed"])
    early, late = split(table, month)
    x, y = features(early), target(early)
    model = train_boosted(x, y, learning_rate=rate, max_iter=40)
    seen, unseen = predict(model, x), predict(model, features(late))
    return seen, residuals(target(late), unseen)


def neighbourhoods(properties: Frame, sales: Frame, *, place: str, iterations: int) -> Any:
    homes = only_homes(properties)
    homes = fill_by_place(homes, ["year_built", "lot_area", "living_area"], "zip_id")
    homes = add_neighbours(add_place(add_ratios(homes), 50_000.0), place)
    homes = encode_frequency(fill_text(homes), TEXT)
    table = join(sales, homes)
    table = drop_missing(plain_types(encode_labels(table)), 0.95)
    x, y = features(table), target(table)
    model = train_boosted(x, y, max_iter=iterations, learning_rate=0.05)
    return residuals(y, predict(model, x))


def elastic(properties: Frame, sales: Frame, *, alpha: float, share: float) -> Any:
    table = join(sales, add_age(fill_counts(properties)))
    table = drop_columns(drop_missing(table, 0.4), [*TEXT, "census_block"])
    table = encode_one_hot(fill_median(table), ["county", "channel", "condition"])
    table = logarithms(table, ["living_area", "lot_area", *VALUES])
    table = clip(plain_types(table), share)
    y = target(table)
    x, _ = scale(features(table))
    model = train_linear(x, y, "elastic", alpha)
    return residuals(y, predict(model, x))


def two_models(properties: Frame, sales: Frame, *, share: float, rate: float) -> Any:
    table = add_rooms(add_ratios(join(sales, properties)))
    table = drop_outliers(plain_types(encode_labels(fill_text(table))), 0.6)
    table = clip(fill_value(fill_counts(table), 0.0), 0.005)
    x, y = features(table), target(table)
    trees = train_boosted(x, y, learning_rate=rate, max_iter=30)
    scaled, _ = scale(x)
    line = train_linear(scaled, y, "ridge", 10.0)
    first, second = predict(trees, x), predict(line, scaled)
    return residuals(y, blend(first, second, share))


def components(properties: Frame, sales: Frame, *, count: int, leaves: int) -> Any:
    homes = fill_median(drop_missing(fill_counts(properties), 0.7))
    table = plain_types(encode_labels(fill_text(join(sales, homes))))
    table = drop_constant(drop_columns(table, ["census_block"]))
    y = target(table)
    x, _ = scale(features(table))
    parts, _ = project(x, count)
    model = train_boosted(parts, y, max_leaf_nodes=leaves, max_iter=30)
    return residuals(y, predict(model, parts))


def target_codes(properties: Frame, sales: Frame, *, smooth: float, rate: float) -> Any:
    table = by_date(drop_outliers(join(sales, add_age(properties)), 1.0))
    table = add_dates(add_missing(fill_text(table)))
    table = encode_target(table, "zip_id", smooth)
    table = encode_target(table, "land_use_code", smooth)
    table = encode_frequency(add_place(table, 20_000.0), ["zoning", "zip_id"])
    table = plain_types(encode_labels(drop_missing(table, 0.98)))
    x, y = features(table), target(table)
    model = train_boosted(x, y, learning_rate=rate, max_iter=40)
    return residuals(y, predict(model, x))


def by_period(properties: Frame, sales: Frame, *, alpha: float, month: int) -> Any:
    table = join(sales, add_ratios(add_age(fill_counts(properties))))
    table = drop_missing(table, 0.3)
    early, late = split(encode_labels(fill_text(table)), month)
    whole = plain_types(together(fill_median(early), fill_median(late)))
    x, y = features(whole), target(whole)
    scaled, _ = scale(x)
    model = train_linear(scaled, y, "lasso", alpha)
    return residuals(y, predict(model, scaled))


RATES = (0.03, 0.05, 0.08, 0.12, 0.2)
TEMPLATES: dict[Callable[..., Any], list[Settings]] = {
    plain_boosting: [
        {"rate": r, "leaves": n} for r, n in zip(RATES, (15, 31, 31, 31, 63), strict=True)
    ],
    least_squares: [{"limit": limit} for limit in (0.3, 0.4, 0.5, 0.75, 1.0)],
    scaled_ridge: [{"alpha": alpha} for alpha in (0.1, 1.0, 10.0, 100.0, 1000.0)],
    dated_boosting: [
        {"rate": r, "month": m} for r, m in zip(RATES, (10, 10, 10, 11, 11), strict=True)
    ],
    neighbourhoods: [
        {"place": p, "iterations": n}
        for p, n in (("zip_id", 30), ("zip_id", 45), ("zip_id", 60), ("city_id", 45), ("cell", 45))
    ],
    elastic: [
        {"alpha": a, "share": s}
        for a, s in ((1e-4, 0.01), (3e-4, 0.01), (1e-3, 0.01), (3e-3, 0.01), (1e-3, 0.002))
    ],
    two_models: [
        {"share": s, "rate": r} for s, r in zip((0.2, 0.5, 0.5, 0.8, 0.8), RATES, strict=True)
    ],
    components: [
        {"count": c, "leaves": n} for c, n in ((10, 31), (20, 15), (20, 31), (20, 63), (30, 31))
    ],
    target_codes: [
        {"smooth": s, "rate": r}
        for s, r in zip((20.0, 20.0, 20.0, 100.0, 100.0), RATES, strict=True)
    ],
    by_period: [
        {"alpha": a, "month": m}
        for a, m in ((1e-4, 10), (3e-4, 10), (1e-3, 10), (3e-3, 10), (1e-3, 9))
    ],
}


def pipelines() -> Iterator[tuple[str, Callable[..., Any], Settings]]:
    """Yield (name, template, setting), fifty of them: the templates in turn, setting by setting."""
    for at in range(5):
        for template, settings in TEMPLATES.items():
            yield f"{template.__name__}-{at}", template, settings[at]
