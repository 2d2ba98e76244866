"""Tables of properties and of their sales, made from a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SEED = 20_161_115
PROPERTIES = 120_000
SALES = 100_000

Floats = NDArray[np.float64]
Rng = np.random.Generator


def tables(
    properties: int = PROPERTIES, sales: int = SALES, seed: int = SEED
) -> dict[str, pd.DataFrame]:
    """Return {"properties": 61 columns, "sales": 4 columns}."""
    rng = np.random.default_rng(seed)
    homes = _properties(rng, properties)
    return {"properties": homes, "sales": _sales(rng, homes, sales)}


def _missing(rng: Rng, values: Floats | NDArray[np.int64], share: float) -> Floats:
    """Return the values as float64, this share of them NaN: what reading a CSV gives."""
    out = np.asarray(values, np.float64).copy()
    out[rng.random(len(out)) < share] = np.nan
    return out


def _kinds(rng: Rng, rows: int, count: int, missing: float) -> Floats:
    """Return type numbers from 1, some far more frequent than others."""
    weights = 1.0 / np.arange(1, count + 1) ** 1.5
    return _missing(rng, rng.choice(count, rows, p=weights / weights.sum()) + 1, missing)


def _properties(rng: Rng, rows: int) -> pd.DataFrame:
    columns: dict[str, object] = {
        "parcel_id": 10_000_000 + rng.permutation(rows * 8)[:rows].astype(np.int64)
    }
    zips = _place(rng, rows, columns)
    area, year = _building(rng, rows, columns)
    _rooms(rng, rows, area, columns)
    _types(rng, rows, columns)
    _taxes(rng, rows, area, year, zips, columns)
    return pd.DataFrame(columns)


def _place(rng: Rng, rows: int, columns: dict[str, object]) -> NDArray[np.int64]:
    centres = np.stack([rng.normal(34.0, 0.3, 400), rng.normal(-118.2, 0.4, 400)], axis=1)
    zips = rng.choice(400, rows, p=_zipf(400, 0.6))
    near = centres[zips] + rng.normal(0, 0.02, (rows, 2))
    counties = np.array(["Los Angeles", "Orange", "Ventura"])[zips % 7 // 3]
    codes = np.array([f"{a}{b:02d}" for a in ("01", "12", "1", "SFR") for b in range(50)])
    zones = np.array([f"{city}R{kind}-{lot}" for city in ("LA", "LB", "PS", "GL", "TO")
                      for kind in range(8) for lot in ("1", "1L", "2", "S", "8500", "D6", "U", "V*",
                                                       "15000", "PD")])  # fmt: skip
    columns["latitude"] = np.round(near[:, 0] * 1e6)
    columns["longitude"] = np.round(near[:, 1] * 1e6)
    columns["county"] = pd.Categorical(counties)
    columns["city_id"] = _missing(rng, 3_101 + zips // 3 * 17, 0.02)
    columns["zip_id"] = _missing(rng, 95_982 + zips * 3, 0.005)
    columns["neighborhood_id"] = _missing(rng, 6_952 + zips * 31 + rng.integers(0, 3, rows), 0.6)
    columns["census_tract"] = np.round(6_037_0000 + zips * 100 + rng.integers(0, 40, rows), 1)
    columns["census_block"] = _missing(
        rng, 6.037e13 + zips * 1e6 + rng.integers(0, 3_000, rows), 0.03
    )
    columns["land_use_code"] = _text(rng, codes[rng.choice(200, rows, p=_zipf(200, 1.3))], 0.004)
    columns["zoning"] = _text(rng, zones[rng.choice(400, rows, p=_zipf(400, 1.0))], 0.34)
    columns["land_use_type"] = rng.choice([261, 266, 246, 269, 31], rows, p=_zipf(5, 1.4))
    return zips


def _zipf(count: int, power: float) -> Floats:
    weights: Floats = 1.0 / np.arange(1, count + 1) ** power
    return weights / weights.sum()


def _text(rng: Rng, values: NDArray[np.str_], missing: float) -> pd.Series:
    text = pd.Series(values)
    return text.mask(pd.Series(rng.random(len(values)) < missing))


def _building(rng: Rng, rows: int, columns: dict[str, object]) -> tuple[Floats, Floats]:
    area = np.round(np.exp(rng.normal(7.4, 0.45, rows)))
    lot = np.round(area * np.exp(rng.normal(1.4, 0.7, rows)))
    year = np.clip(np.round(rng.normal(1964, 23, rows)), 1880, 2015)
    columns["living_area"] = _missing(rng, area, 0.02)
    columns["finished_area_12"] = np.where(rng.random(rows) < 0.91, columns["living_area"], np.nan)
    for name, share in (("13", 0.975), ("15", 0.936), ("50", 0.93), ("6", 0.993)):
        columns[f"finished_area_{name}"] = _missing(rng, np.round(area * 0.9), share)
    columns["first_floor_area"] = _missing(rng, np.round(area * rng.uniform(0.5, 1, rows)), 0.93)
    columns["basement_area"] = _missing(rng, np.round(area * 0.4), 0.995)
    columns["lot_area"] = _missing(rng, lot, 0.09)
    columns["yard_building_area"] = _missing(rng, rng.integers(50, 900, rows), 0.97)
    columns["shed_area"] = _missing(rng, rng.integers(30, 400, rows), 0.995)
    columns["pool_area"] = _missing(rng, rng.integers(200, 800, rows), 0.98)
    columns["garage_area"] = _missing(rng, rng.choice([0, 360, 400, 420, 440, 480, 528], rows), 0.7)
    columns["year_built"] = _missing(rng, year, 0.02)
    columns["last_assessed"] = pd.Series(
        np.datetime64("2015-01-01") + rng.integers(0, 365, rows).astype("timedelta64[D]")
    ).astype("datetime64[ns]")
    return area, year


def _rooms(rng: Rng, rows: int, area: Floats, columns: dict[str, object]) -> None:
    baths = np.clip(np.round(area / 750 + rng.normal(0, 0.5, rows)), 1, 12)
    half = rng.random(rows) < 0.15
    columns["bathrooms"] = _missing(rng, baths + 0.5 * half, 0.004)
    columns["full_bathrooms"] = _missing(rng, baths, 0.04)
    columns["calculated_bathrooms"] = _missing(rng, baths + 0.5 * half, 0.043)
    columns["small_bathrooms"] = _missing(rng, half + 1, 0.895)
    columns["bedrooms"] = _missing(rng, np.clip(np.round(area / 600 + rng.normal(0, 0.6, rows)),
                                                0, 14), 0.004)  # fmt: skip
    columns["rooms"] = np.where(rng.random(rows) < 0.77, 0.0, np.round(area / 260))
    columns["units"] = _missing(rng, rng.choice([1, 2, 3, 4], rows, p=_zipf(4, 3)), 0.34)
    columns["stories"] = _missing(rng, rng.choice([1, 2, 3], rows, p=_zipf(3, 1.2)), 0.77)
    columns["fireplaces"] = _missing(rng, rng.choice([1, 2, 3], rows, p=_zipf(3, 2)), 0.895)
    columns["garage_cars"] = _missing(rng, rng.choice([2, 1, 0, 3, 4], rows, p=_zipf(5, 2)), 0.7)
    columns["pools"] = _missing(rng, np.ones(rows), 0.82)
    permits = pd.array(rng.poisson(0.7, rows), dtype="Int64")
    permits[rng.random(rows) < 0.25] = pd.NA
    columns["permits"] = permits


def _types(rng: Rng, rows: int, columns: dict[str, object]) -> None:
    for name, count, share in (
        ("air_conditioning", 7, 0.73), ("architecture", 8, 0.998), ("building_class", 5, 0.996),
        ("building_quality", 12, 0.35), ("heating", 14, 0.39), ("story_type", 1, 0.999),
        ("construction_type", 5, 0.998), ("deck_type", 1, 0.994), ("pool_type_10", 1, 0.99),
        ("pool_type_2", 1, 0.99), ("pool_type_7", 1, 0.84),
    ):  # fmt: skip
        columns[name] = _kinds(rng, rows, count, share)
    columns["condition"] = pd.Categorical(
        rng.choice(["poor", "fair", "good", "new"], rows, p=[0.1, 0.4, 0.4, 0.1]),
        categories=["poor", "fair", "good", "new"],
        ordered=True,
    )
    columns["owner_lives_there"] = rng.random(rows) < 0.63
    columns["has_fireplace"] = rng.random(rows) < 0.1
    hot_tub = pd.array(rng.random(rows) < 0.5, dtype="boolean")
    hot_tub[rng.random(rows) < 0.97] = pd.NA
    columns["has_hot_tub"] = hot_tub


def _taxes(
    rng: Rng, rows: int, area: Floats, year: Floats, zips: NDArray[np.int64],
    columns: dict[str, object],
) -> None:  # fmt: skip
    wealth = np.exp(rng.normal(0, 0.35, 400))[zips]
    land = np.round(area * wealth * np.exp(rng.normal(4.6, 0.6, rows)))
    house = np.round(area * np.exp(rng.normal(4.5, 0.4, rows)) * (1 - (2016 - year) / 400))
    late = rng.random(rows) < 0.019
    columns["structure_value"] = _missing(rng, house, 0.018)
    columns["land_value"] = _missing(rng, land, 0.023)
    columns["tax_value"] = _missing(rng, house + land, 0.014)
    columns["tax_amount"] = _missing(
        rng, np.round((house + land) * rng.normal(0.0121, 0.0012, rows), 2), 0.01
    )
    columns["assessment_year"] = _missing(rng, np.full(rows, 2015.0), 0.01)
    columns["tax_late"] = pd.Series(np.where(late, "Y", "")).mask(pd.Series(~late))
    columns["tax_late_year"] = np.where(late, rng.integers(6, 16, rows), np.nan)


def _sales(rng: Rng, homes: pd.DataFrame, count: int) -> pd.DataFrame:
    """Some homes are sold twice. The error of the estimate hangs on size, age and place."""
    at = rng.integers(0, len(homes), count)
    home = homes.iloc[at]
    age = 2016 - home["year_built"].fillna(1964).to_numpy()
    size = np.log(home["living_area"].fillna(1600).to_numpy())
    pull = 0.01 + 0.0004 * (age - 50) - 0.02 * (size - 7.4)
    noise = rng.standard_t(3, count) * 0.08
    days = np.sort(rng.integers(0, 365, count)).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "parcel_id": home["parcel_id"].to_numpy(),
            "log_error": np.round(pull + noise, 4),
            "sale_date": pd.Series(np.datetime64("2016-01-01") + days).astype("datetime64[ns]"),
            "channel": pd.Categorical(
                rng.choice(["agent", "owner", "auction"], count, p=[0.8, 0.15, 0.05])
            ),
        }
    )
