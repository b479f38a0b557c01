#!/usr/bin/env python3
"""Draws what the dashboard's panels showed in a test.

    METABUILDER_DRAW=/tmp/panels.json cargo test -p meta-tests --test telemetry_live
    scripts/draw-dashboard.py /tmp/panels.json docs/dashboard.png

The file holds each panel with the results of its queries over time, as Prometheus answered them.
Needs matplotlib. It is no Grafana: it shows the same numbers in the same places.
"""

import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#b877d9", "#37872d", "#fade2a",
           "#447ebc", "#c15c17", "#e0f9d7", "#0a437c"]
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "orange": "#ff780a",
         "blue": "#8ab8ff", "purple": "#b877d9", "text": "#9fa7b3"}
DASHBOARD = pathlib.Path(__file__).parent.parent / "ops/grafana/meta_builder_v3_dashboard.json"
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


def steps(panel, name=None):
    """The thresholds of a panel, or those that it has for one of its series."""
    found = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    for change in panel["fieldConfig"]["overrides"]:
        for one in change["properties"]:
            if one["id"] == "thresholds" and change["matcher"]["options"] == name:
                found = one["value"]["steps"]
    return found


def colour(panel, value, name=None):
    found = "green"
    for step in steps(panel, name):
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return NAMED[found]


def ink(panel, name, place):
    """The colour that a panel names for a series, or the next one."""
    for change in panel["fieldConfig"]["overrides"]:
        about = change["matcher"]["options"]
        by_name = change["matcher"]["id"] == "byName"
        fits = about == name if by_name else re.search(about[1:-1], name)
        for one in change["properties"] if fits else []:
            if one["id"] == "color":
                return NAMED[one["value"]["fixedColor"]]
    return COLOURS[place % len(COLOURS)]


def unit(panel):
    return panel["fieldConfig"]["defaults"]["unit"]


def written(value, of="short"):
    if of == "percentunit":
        return f"{value:.0%}"
    if of == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if of == "s":
        return f"{value * 1e3:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    number = f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"
    return f"{number}/s" if of == "reqps" else number


def stat(axes, panel):
    axes.axis("off")
    shown = last(panel)
    shown = shown if len(shown) < 4 else [one for one in shown if one[2] != 0]
    columns = 4 if len(shown) > 3 else max(1, len(shown))
    for place, (name, _, value) in enumerate(shown):
        x = (place % columns + 0.5) / columns
        rows = -(-len(shown) // columns)
        y = 1 - (place // columns + 0.5) / rows
        axes.text(x, y + 0.06, written(value, unit(panel)), ha="center", va="center", fontsize=17,
                  color=colour(panel, value, name), weight="bold", transform=axes.transAxes)
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
             colors=[ink(panel, n, place) for place, (n, _) in enumerate(shown)],
             wedgeprops={"width": 0.45}, textprops={"fontsize": 7, "color": INK})


def histogram(axes, panel):
    bound = lambda one: float("inf") if one[1]["le"] == "+Inf" else float(one[1]["le"])
    below, low, bars = 0, 0, []
    for one in sorted(last(panel), key=bound):
        high = bound(one)
        name = f"{low:g} to {high:g} s" if high < float("inf") else f"over {low:g} s"
        bars.append((name, one[2] - below))
        below, low = one[2], high
    axes.bar([name for name, _ in bars], [n for _, n in bars], color=COLOURS[0])
    axes.set_ylabel("waits", fontsize=6, color=INK)


def bars(axes, panel):
    shown = sorted(last(panel), key=lambda one: one[0], reverse=True)
    axes.barh([n for n, _, _ in shown], [v for _, _, v in shown],
              color=[COLOURS[0] if "mean" in n else COLOURS[2] for n, _, _ in shown])
    axes.tick_params(axis="y", labelsize=5)
    axes.xaxis.set_major_formatter(lambda value, _: written(value, unit(panel)))
    for place, (_, _, value) in enumerate(shown):
        axes.text(value, place, " " + written(value, unit(panel)), va="center", fontsize=5,
                  color=INK)
    axes.margins(x=0.12)


def short(name):
    """The name of a method without its package and service."""
    return re.sub(r"[\w.]+/", "", name)


def lines(axes, panel):
    beside = []
    for place, (name, _, times, values) in enumerate(series(panel)):
        drawn, = axes.plot([t - times[-1] for t in times], values, linewidth=1.2,
                           color=ink(panel, name, place))
        beside.append((drawn, f"{short(name)}  {written(values[-1], unit(panel))}"))
    highest = axes.get_ylim()[1]
    for step in steps(panel):
        if step["value"] is not None and step["value"] < 3 * highest:
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]), top=max(axes.get_ylim()[1], 1e-9))
    if all(v == 0 for _, _, _, values in series(panel) for v in values):
        axes.set_ylim(-0.05, 1)
    axes.yaxis.set_major_formatter(lambda value, _: written(value, unit(panel)))
    axes.set_xlabel("seconds ago", fontsize=6, color=INK)
    more = len(beside) - 9
    axes.legend([line for line, _ in beside[:9]],
                [n for _, n in beside[:9]] if more <= 0 else
                [n for _, n in beside[:8]] + [f"and {more + 1} more"],
                fontsize=5, frameon=False, labelcolor=INK, loc="upper left", handlelength=1,
                bbox_to_anchor=(1.0, 1.03), borderaxespad=0.2)


DRAW = {"stat": stat, "gauge": gauge, "piechart": pie, "histogram": histogram, "barchart": bars,
        "timeseries": lines}


def main(source, picture):
    panels = json.load(open(source, encoding="utf-8"))
    rows = [p for p in json.load(open(DASHBOARD, encoding="utf-8"))["panels"] if p["type"] == "row"]
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
        narrow = {"timeseries": 0.3 * width}.get(panel["type"], 0)
        axes = figure.add_axes([left + wide, low + 0.018, width - wide - 0.012 - narrow,
                                height - 0.037])
        DRAW[panel["type"]](axes, panel)
        axes.set_title(panel["title"], fontsize=8, color=INK, loc="left", weight="bold")
    for row in rows:
        at = row["gridPos"]
        figure.text(0.01, 1 - (at["y"] + 0.75) / bottom, "▾ " + row["title"], fontsize=11,
                    color=INK)
    figure.savefig(picture)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
