"""The same features and the same kind of model in pandas and LightGBM, for comparison.

Reads what the bench left in a folder, and the readings of the window from the database in DATABASE_URL. Prints one
JSON object: seconds for reading, features and predictions of a pass, and for training.
"""

import io
import json
import os
import pathlib
import sys
import time

import lightgbm
import numpy as np
import pandas as pd
import psycopg

SHORT, LONG = 6, 144
folder = pathlib.Path(sys.argv[1])
facts = json.loads((folder / "facts.json").read_text())
channels = np.load(folder / "channels.npy").astype(np.int64)
median = np.load(folder / "median.npy")
scale = np.load(folder / "scale.npy")
x, y = np.load(folder / "x.npy"), np.load(folder / "y.npy")


def load():
    """Readings in one COPY, as a table of (series, step)."""
    ids = ",".join(map(str, channels))
    copy = (
        "COPY (SELECT channel_id, extract(epoch FROM ts)::float8, value FROM reading"
        f" WHERE channel_id = ANY ('{{{ids}}}'::int4[])"
        f" AND ts BETWEEN to_timestamp({facts['start_s']}) AND to_timestamp({facts['end_s']})) TO STDOUT (FORMAT csv)"
    )
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        with cursor.copy(copy) as rows:
            text = io.BytesIO(b"".join(rows))
    frame = pd.read_csv(text, names=["channel", "ts", "value"])
    value = np.full((len(channels), facts["steps"]), np.nan)
    place = pd.Index(channels).get_indexer(frame["channel"])
    step = ((frame["ts"] - facts["start_s"]) / facts["step_s"]).astype(int)
    value[place, step] = frame["value"]
    return value


def features(value):
    series, steps = value.shape
    frame = pd.DataFrame(
        {
            "series": np.repeat(np.arange(series), steps),
            "step": np.tile(np.arange(steps, dtype=float), series),
            "value": value.ravel(),
            "z": ((value - median[:, None]) / scale[:, None]).ravel(),
        }
    )

    def roll(column, size, least=1):
        return frame.groupby("series", sort=False)[column].rolling(size, min_periods=least)

    def put(name, result):
        frame[name] = result.to_numpy()

    put("mean_short", roll("value", SHORT).mean())
    put("median_short", roll("value", SHORT).median())
    put("sd_short", roll("value", SHORT, 2).std())
    put("min_short", roll("value", SHORT).min())
    put("max_short", roll("value", SHORT).max())
    put("mean_long", roll("value", LONG).mean())
    put("sd_long", roll("value", LONG, 2).std())
    put("count_long", roll("value", LONG).count())
    put("expanding_mean", frame.groupby("series", sort=False)["value"].expanding().mean())
    put("z_short", roll("z", SHORT, 3).median())
    put("z_ewma", frame.groupby("series", sort=False)["z_short"].ewm(alpha=0.2).mean())
    frame["tt"], frame["tx"] = frame["step"] ** 2, frame["step"] * frame["median_short"]
    t, tt = roll("step", LONG, 12).mean().to_numpy(), roll("tt", LONG, 12).mean().to_numpy()
    m, tx = roll("median_short", LONG, 12).mean().to_numpy(), roll("tx", LONG, 12).mean().to_numpy()
    frame["slope_long"] = (tx - t * m) / (tt - t * t) * facts["steps_per_hour"]
    frame["short_minus_long"] = frame["mean_short"] - frame["mean_long"]
    frame["missing_long"] = 1 - frame["count_long"] / np.minimum(frame["step"] + 1, LONG)
    frame["last"] = frame["value"]
    last = frame[frame["step"] == steps - 1]
    return last[facts["names"]].to_numpy().reshape(facts["assets"], -1)


def train():
    return lightgbm.train(
        {
            "objective": "binary",
            "learning_rate": facts["learning_rate"],
            "num_leaves": facts["leaves"],
            "min_data_in_leaf": facts["min_leaf"],
            "bagging_fraction": facts["row_share"],
            "bagging_freq": 1,
            "feature_fraction": facts["column_share"],
            "num_threads": 2,
            "verbose": -1,
        },
        lightgbm.Dataset(x, y),
        num_boost_round=facts["rounds"],
    )


start = time.perf_counter()
model = train()
train_s = time.perf_counter() - start
start = time.perf_counter()
value = load()
load_s = time.perf_counter() - start
start = time.perf_counter()
rows = features(value)
features_s = time.perf_counter() - start
wide = np.full((rows.shape[0], x.shape[1]), np.nan)
wide[:, : rows.shape[1]] = rows
start = time.perf_counter()
p = model.predict(wide, num_threads=2)
predict_s = time.perf_counter() - start
assert p.shape == (facts["assets"],) and np.isfinite(p).all()
print(
    json.dumps(
        {
            "train_s": train_s,
            "load_s": load_s,
            "features_s": features_s,
            "predict_s": predict_s,
            "versions": {"pandas": pd.__version__, "lightgbm": lightgbm.__version__},
        }
    )
)
