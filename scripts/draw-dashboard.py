#!/usr/bin/env python3
"""Draws what the dashboard's panels showed in a test.

    METABUILDER_DRAW=/tmp/panels.json cargo test -p meta-tests --test telemetry_live
    scripts/draw-dashboard.py /tmp/panels.json docs/dashboard.png

The file holds each panel with the results of its queries over time, as Prometheus answered them.
Needs matplotlib. It is no Grafana: it shows the same numbers in the same places.
"""

import json
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#37872d", "#fade2a",
           "#447ebc", "#c15c17", "#e0f9d7", "#0a437c"]
INK, PAPER, CARD = "#d8d9da", "#111217", "#181b1f"


def named(legend, labels):
    return re.sub(r"{{(\w+)}}", lambda m: labels.get(m.group(1), ""), legend) or "value"


def series(panel):
    """Every series of a panel: name, labels, times, values."""
    for target, results in zip(panel["targets"], panel["results"]):
        for one in results:
            points = [(t, float(v)) for t, v in one["values"] if v not in ("NaN", "+Inf", "-Inf")]
            if points:
                yield (named(target.get("legendFormat", ""), one["metric"]), one["metric"],
                       [p[0] for p in points], [p[1] for p in points])


def last(panel):
    return [(name, labels, values[-1]) for name, labels, _, values in series(panel)]


def colour(panel, value):
    found = "green"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c"}[found]


def written(value):
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"


def stat(axes, panel):
    axes.axis("off")
    shown = [one for one in last(panel) if one[2] != 0] or last(panel)[:1]
    columns = 4 if len(shown) > 3 else max(1, len(shown))
    for place, (name, _, value) in enumerate(shown):
        x = (place % columns + 0.5) / columns
        rows = -(-len(shown) // columns)
        y = 1 - (place // columns + 0.5) / rows
        axes.text(x, y + 0.06, written(value), ha="center", va="center", fontsize=17,
                  color=colour(panel, value), weight="bold", transform=axes.transAxes)
        axes.text(x, y - 0.14, name, ha="center", va="center", fontsize=7, color=INK,
                  transform=axes.transAxes)


def gauge(axes, panel):
    axes.axis("off")
    value = last(panel)[0][2]
    for low, high in ((0, 0.7), (0.7, 0.8), (0.8, 1)):
        axes.barh(0, high - low, left=low, height=0.12, color=colour(panel, low), alpha=0.5)
    axes.barh(0.25, value, height=0.28, color=colour(panel, value))
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.3, 1)
    axes.text(0.5, 0.75, f"{value:.1%}", ha="center", va="center", fontsize=18, weight="bold",
              color=colour(panel, value))


def pie(axes, panel):
    shown = [(name, value) for name, _, value in last(panel) if value > 0]
    axes.pie([v for _, v in shown], labels=[f"{n}: {written(v)}" for n, v in shown],
             colors=COLOURS, wedgeprops={"width": 0.45}, textprops={"fontsize": 7, "color": INK})


def histogram(axes, panel):
    bound = lambda one: float("inf") if one[1]["le"] == "+Inf" else float(one[1]["le"])
    below, bars = 0, []
    for one in sorted(last(panel), key=bound):
        bars.append((one[1]["le"], one[2] - below))
        below = one[2]
    axes.bar([f"<= {le} s" for le, _ in bars], [n for _, n in bars], color=COLOURS[0])


def bars(axes, panel):
    shown = sorted(last(panel), key=lambda one: one[0], reverse=True)
    axes.barh([n for n, _, _ in shown], [v for _, _, v in shown],
              color=[COLOURS[0] if "mean" in n else COLOURS[2] for n, _, _ in shown])
    axes.tick_params(axis="y", labelsize=5)


def lines(axes, panel):
    for place, (name, _, times, values) in enumerate(series(panel)):
        axes.plot([t - times[-1] for t in times], values, label=name, linewidth=1.2,
                  color=COLOURS[place % len(COLOURS)])
    axes.set_xlabel("seconds ago", fontsize=6, color=INK)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[:7], [n.split("/")[-1] for n in names[:7]], fontsize=5, frameon=False,
                labelcolor=INK, loc="upper left")


DRAW = {"stat": stat, "gauge": gauge, "piechart": pie, "histogram": histogram, "barchart": bars,
        "timeseries": lines}


def main(source, picture):
    panels = json.load(open(source, encoding="utf-8"))
    bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    plt.rcParams.update({"text.color": INK, "axes.edgecolor": "#33363d", "xtick.color": INK,
                         "ytick.color": INK, "axes.facecolor": CARD, "figure.facecolor": PAPER,
                         "xtick.labelsize": 6, "ytick.labelsize": 6})
    figure = plt.figure(figsize=(15, bottom * 0.36), dpi=80)
    for panel in panels:
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        low, height = 1 - (at["y"] + at["h"]) / bottom, at["h"] / bottom
        wide = 0.07 if panel["type"] == "barchart" else 0.025
        axes = figure.add_axes([left + wide, low + 0.018, width - wide - 0.012, height - 0.037])
        DRAW[panel["type"]](axes, panel)
        axes.set_title(panel["title"], fontsize=8, color=INK, loc="left", weight="bold")
    figure.savefig(picture)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
