"""Shows the newest results in docs: a picture of the ratios at rising sizes, and the table of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

HERE = Path(__file__).parent
PICTURE = HERE.parent / "docs" / "benchmarks.svg"
PAGE = PICTURE.with_suffix(".md")
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
SERIES = {
    "LangChain stream": "LangChain stream, {} chunks",
    "LangChain astream": "LangChain astream, {} chunks",
    "LlamaIndex stream_complete": "LlamaIndex stream_complete, {} chunks",
    "LlamaIndex astream_complete": "LlamaIndex astream_complete, {} chunks",
}


def draw(rows: dict[str, Any], sizes: tuple[int, ...], streams: tuple[int, ...]) -> None:
    """Draw and write the picture."""
    mpl.rcParams["svg.hashsalt"] = "paradigm-llm"  # the same results give the same file
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharey=True)
    for axis, way in zip(axes, ("sync", "async"), strict=False):
        names = [name for name in SERIES if (" a" in name) == (way == "async")]
        for name in names:
            for contender, style in (("ours", "-o"), ("peer", "--x")):
                ratios = [rows[SERIES[name].format(size)][f"{contender}/floor"] for size in sizes]
                axis.plot(sizes, ratios, style, label=f"{name}: {contender}")
        axis.set(title=f"CPU of a chunk, {way}", xlabel="chunks in the stream", xscale="log")
    for contender, style in (("ours", "-o"), ("peer", "--x")):
        ratios = [rows[f"LangChain astream, {count} at once"][f"{contender}/floor"] for count in streams]
        axes[2].plot(streams, ratios, style, label=contender)
    axes[2].set(title="CPU of a chunk, many streams on one loop", xlabel="streams at once", xscale="log")
    axes[0].set_ylabel("ratio to the floor")
    for axis in axes:
        axis.axhline(1, color="grey", linewidth=1)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = ["| | ours | peer |", "|---|---|---|"]
    others = []
    for name, row in result["rows"].items():
        ratios = {key.split("/")[0]: value for key, value in row.items() if "/" in key}
        if "ours" in ratios:
            peer = f"{ratios['peer']:.2f}" if "peer" in ratios else ""
            lines.append(f"| {name} | {ratios['ours']:.2f} | {peer} |")
        else:
            others.append(f"- {name}: " + ", ".join(f"{value:.4g} {key}" for key, value in row.items()))
    measured = f"Measured on {result['date']} with Python {result['python']}."
    return "\n".join([measured, "", *lines, "", *others])


def main() -> None:
    """Show what was measured last."""
    from benchmarks.cost import SIZES, STREAMS

    result = json.loads((HERE / "results.json").read_text())
    draw(result["rows"], SIZES, STREAMS)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(result)}\n{END}{after}")


if __name__ == "__main__":
    main()
