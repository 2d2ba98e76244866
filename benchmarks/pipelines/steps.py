"""The stages of the pipelines: plain pandas and scikit-learn, as people write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

import flor

Frame = pd.DataFrame
CENTRE = (34_052_000.0, -118_244_000.0)


@flor.stage
def join(sales: Frame, properties: Frame) -> Frame:
    return sales.merge(properties, on="parcel_id", how="left")


@flor.stage
def drop_missing(table: Frame, above: float) -> Frame:
    share = table.isna().mean()
    return table.loc[:, share <= above]


@flor.stage
def drop_columns(table: Frame, names: list[str]) -> Frame:
    return table.drop(columns=[name for name in names if name in table])


@flor.stage
def drop_constant(table: Frame) -> Frame:
    return table.loc[:, table.nunique() > 1]


@flor.stage
def drop_outliers(table: Frame, limit: float) -> Frame:
    return table[table["log_error"].abs() <= limit]


@flor.stage
def only_homes(table: Frame) -> Frame:
    return table[table["land_use_type"].isin([261, 266, 246])].reset_index(drop=True)


@flor.stage
def fill_value(table: Frame, value: float) -> Frame:
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: table[name].fillna(value) for name in numbers})


@flor.stage
def fill_median(table: Frame) -> Frame:
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: table[name].fillna(table[name].median()) for name in numbers})


@flor.stage
def fill_by_place(table: Frame, names: list[str], place: str) -> Frame:
    groups = table.groupby(place, dropna=False)
    return table.assign(
        **{name: table[name].fillna(groups[name].transform("median")) for name in names}
    )


@flor.stage
def fill_counts(table: Frame) -> Frame:
    """What is not said to be there is not there."""
    names = ["pools", "fireplaces", "garage_cars", "garage_area", "pool_area", "permits"]
    return table.assign(**{name: table[name].fillna(0) for name in names if name in table})


@flor.stage
def fill_text(table: Frame) -> Frame:
    names = table.select_dtypes("string").columns
    return table.assign(**{name: table[name].fillna("none") for name in names})


@flor.stage
def encode_labels(table: Frame) -> Frame:
    """Text and categories as numbers, in the order of the alphabet."""
    names = table.select_dtypes(["string", "category"]).columns
    return table.assign(**{name: table[name].astype("category").cat.codes for name in names})


@flor.stage
def encode_frequency(table: Frame, names: list[str]) -> Frame:
    counts = {f"{name}_count": table[name].map(table[name].value_counts()) for name in names}
    return table.assign(**counts)


@flor.stage
def encode_one_hot(table: Frame, names: list[str]) -> Frame:
    return pd.get_dummies(table, columns=names)


@flor.stage
def encode_target(table: Frame, name: str, smooth: float) -> Frame:
    whole = table["log_error"].mean()
    groups = table.groupby(name, dropna=False, observed=True)["log_error"]
    count, mean = groups.transform("count"), groups.transform("mean")
    return table.assign(**{f"{name}_error": (mean * count + whole * smooth) / (count + smooth)})


@flor.stage
def plain_types(table: Frame) -> Frame:
    """Nullable columns as floats, truth values as 0 and 1, dates as days."""
    out = table.copy()
    for name in table:
        kind = table[name].dtype
        if pd.api.types.is_datetime64_any_dtype(kind):
            out[name] = (table[name] - pd.Timestamp("2015-01-01")).dt.days.astype("float64")
        elif pd.api.types.is_extension_array_dtype(kind) and kind.name in ("Int64", "boolean"):
            out[name] = table[name].astype("Float64").to_numpy("float64", na_value=np.nan)
        elif pd.api.types.is_bool_dtype(kind):
            out[name] = table[name].astype("int8")
    return out


@flor.stage
def add_age(table: Frame) -> Frame:
    return table.assign(age=2016 - table["year_built"])


@flor.stage
def add_ratios(table: Frame) -> Frame:
    return table.assign(
        value_ratio=table["structure_value"] / table["land_value"],
        tax_share=table["tax_amount"] / table["tax_value"],
        living_share=table["living_area"] / table["lot_area"],
        value_per_area=table["tax_value"] / table["living_area"],
    )


@flor.stage
def add_rooms(table: Frame) -> Frame:
    return table.assign(
        all_rooms=table["bathrooms"] + table["bedrooms"],
        area_per_room=table["living_area"] / (table["bathrooms"] + table["bedrooms"] + 1),
    )


@flor.stage
def add_dates(table: Frame) -> Frame:
    date = table["sale_date"].dt
    return table.assign(month=date.month, quarter=date.quarter, weekday=date.dayofweek)


@flor.stage
def add_place(table: Frame, cell: float) -> Frame:
    north, east = table["latitude"] - CENTRE[0], table["longitude"] - CENTRE[1]
    return table.assign(
        distance=np.hypot(north, east),
        turned=(north + east) / np.sqrt(2),
        cell=np.floor(north / cell) * 1_000 + np.floor(east / cell),
    )


@flor.stage
def add_neighbours(table: Frame, place: str) -> Frame:
    """What homes of the same place are worth."""
    about = table.groupby(place)[["tax_value", "living_area"]].mean()
    about.columns = [f"{place}_value", f"{place}_area"]
    return table.merge(about, left_on=place, right_index=True, how="left")


@flor.stage
def add_missing(table: Frame) -> Frame:
    return table.assign(missing=table.isna().sum(axis=1))


@flor.stage
def logarithms(table: Frame, names: list[str]) -> Frame:
    return table.assign(**{name: np.log1p(table[name].clip(lower=0)) for name in names})


@flor.stage
def clip(table: Frame, share: float) -> Frame:
    numbers = table.select_dtypes("float").columns.drop("log_error", errors="ignore")
    low, high = table[numbers].quantile(share), table[numbers].quantile(1 - share)
    return table.assign(**{name: table[name].clip(low[name], high[name]) for name in numbers})


@flor.stage
def by_date(table: Frame) -> Frame:
    return table.sort_values("sale_date", kind="stable")


@flor.stage
def split(table: Frame, month: int) -> tuple[Frame, Frame]:
    """Earlier sales to learn from, later ones to be tried on."""
    early = table["sale_date"].dt.month < month
    return table[early], table[~early]


@flor.stage
def together(first: Frame, second: Frame) -> Frame:
    return pd.concat([first, second])


@flor.stage
def features(table: Frame) -> Frame:
    numbers = table.select_dtypes(["number", "bool"])
    return numbers.drop(columns=["parcel_id", "log_error"], errors="ignore")


@flor.stage
def target(table: Frame) -> pd.Series:
    return table["log_error"]


@flor.stage
def scale(table: Frame) -> tuple[Any, StandardScaler]:
    scaler = StandardScaler().fit(table.to_numpy("float64"))
    return scaler.transform(table.to_numpy("float64")), scaler


@flor.stage
def project(table: Any, components: int) -> tuple[Any, PCA]:
    model = PCA(components, svd_solver="full").fit(table)
    return model.transform(table), model


@flor.stage
def train_boosted(table: Any, goal: pd.Series, **settings: Any) -> HistGradientBoostingRegressor:
    model = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **settings)
    return model.fit(table, goal)


@flor.stage
def train_linear(table: Any, goal: pd.Series, kind: str, alpha: float = 0.0) -> Any:
    models = {"least squares": LinearRegression, "ridge": Ridge, "lasso": Lasso,
              "elastic": ElasticNet}  # fmt: skip
    model = models[kind]() if kind == "least squares" else models[kind](alpha=alpha)
    return model.fit(table, goal)


@flor.stage
def predict(model: Any, table: Any) -> Any:
    return model.predict(table)


@flor.stage
def blend(first: Any, second: Any, share: float) -> Any:
    return share * first + (1 - share) * second


@flor.stage
def residuals(goal: pd.Series, predicted: Any) -> pd.Series:
    return goal - predicted
