"""Tables of what the benchmarks measured, each with when, where and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from cells import NONE, duration, percent, row, spread, times
from measured import results, vector_unit


def epoch(root: Path) -> str:
    """All sides of the epoch benchmark, on every kind of processor that it was run on."""
    found = results(root, "epoch")
    assert found
    return _epochs(found)


def speed(root: Path, name: str, *parts: str) -> str:
    """What a benchmark found, with when, where and how; or that it is not yet measured."""
    found = results(root, name)
    if not found:
        return f"Not yet measured: `python -m benchmarks {name} --write` does it."
    return "\n\n".join(f"{_SPEED[name](said, *parts)}\n\n{_made(said)}" for said in found)


def ways(root: Path) -> str:
    """Where rungs end that were trained the native way and PyTorch's."""
    found = results(root, "ways")
    if not found:
        return "Not yet measured: `python -m benchmarks ways --write` does it."
    tables = []
    for said in found:
        head = ["trained by", "mean", "standard deviation", "lowest", "highest", "mean of the best epochs",
                "seeds that keep the contract"]  # fmt: skip
        rows = [row(head), "|---|--:|--:|--:|--:|--:|--:|"]
        for way, name in (("native", "the native step"), ("pytorch", "PyTorch")):
            side = said["sides"][way]
            sample = side["worst"]
            rows.append(row([
                name, f"{side['mean']:.3f}", f"{side['deviation']:.3f}", percent(min(sample)), percent(max(sample)),
                f"{side['best_epoch']:.3f}", f"{side['kept']} of {len(sample)}",
            ]))  # fmt: skip
        difference, p = said["difference"], said["p"]
        tables.append("\n".join([
            f"`{said['rung']}`, the worst test accuracy of the last {said['last_epochs']} of {said['epochs']} epochs, "
            "in percent:", "", *rows, "",
            f"Native minus PyTorch: {difference['mean']:+.3f} points, {difference['from']:+.3f} to "
            f"{difference['to']:+.3f} with 95% confidence; p = {p['welch']:.2f} (Welch), "
            f"{p['kolmogorov_smirnov']:.2f} (Kolmogorov and Smirnov). {_made(said)}",
        ]))  # fmt: skip
    return "\n\n".join(tables)


def compared(root: Path) -> str:
    """What a search found beside chance and beside narrowing the starting rung, in equal time."""
    found = results(root, "search")
    if not found:
        return "Not yet measured: `python -m benchmarks search --write` does it."
    (said,) = found
    names = {"search": "`smallprint search`", "random": "drawn by chance", "narrowed": "the starting rung narrowed"}
    rows = [
        row(
            ["way", "parameters found, by repeat", "median", "trainings", "fresh seeds that keep it on the test images"]
        ),
        row(["---", "---", "--:", "---", "---"]),
    ]
    for way, name in names.items():
        rounds = [one for one in said["rounds"] if one["way"] == way]
        sizes = [one["parameters"] for one in rounds]
        some = [size for size in sizes if size is not None]
        rows.append(row([
            name,
            ", ".join("none" if size is None else f"{size:,.0f}" for size in sizes),
            f"{median(some):,.0f}" if len(some) == len(sizes) else NONE,
            ", ".join(f"{one['trainings']:,}" for one in rounds),
            ", ".join(f"{one['test']['passed']} of {one['test']['of']}" if "test" in one else NONE for one in rounds),
        ]))  # fmt: skip
    start, minutes = said["start"], said["settings"]["minutes"]
    head = (
        f"From {start['rung']}, {start['parameters']:,} parameters, for {minutes:g} minutes each: {said['contract']}. "
        f"Held-out images must show {100 * said['needed']:.2f}%."
    )
    return "\n".join([head, "", *rows, "", _made(said)])


def _made(said: Mapping[str, Any]) -> str:
    """When, on what and by which command a benchmark was run; and whether what it found is to be relied on."""
    machine: Mapping[str, Any] = said.get("machine", {})
    where = [machine.get("cores") and f"{machine['cores']} cores", machine.get("platform")]
    versions = [f"{what} {machine[what]}" for what in ("torch", "smallprint") if what in machine]
    told = ", ".join(word for word in (said.get("date"), *where, *versions) if word)
    doubt = (
        "**A trial with small settings on a machine that was not quiet, no final figure.** "
        if said.get("trial")
        else ""
    )
    return f"{doubt}{told}. Repeat: `{said['command']}`."


def _epochs(found: Sequence[Mapping[str, Any]]) -> str:
    names = {
        "course": "the notebooks' loop",
        "nchw": "PyTorch on whole tensors",
        "nhwc": "the same, channels_last",
        "bfloat16": "the same, bfloat16 autocast",
        "compile": "the same, torch.compile",
        "ours": "**smallprint**",
        "pairs": "**smallprint**, bfloat16",
    }
    head = ["threads", "trained by"]
    columns: list[dict[tuple[int, str], list[str]]] = []  # two of every processor
    for said in found:
        head += [f"{vector_unit(said)}: seconds per epoch", "times smallprint's"]
        columns.append({
            (result["threads"], side): [spread(seconds), times(result["ratios"][side]) if side != "ours" else "1"]
            for result in said["results"] for side, seconds in result["seconds"].items()
        })  # fmt: skip
    rows = [row(head), row(["--:", "---", *["--:"] * (len(head) - 2)])]
    for threads, side in dict.fromkeys(key for column in columns for key in column):
        cells = [cell for column in columns for cell in column.get((threads, side), [NONE, NONE])]
        rows.append(row([str(threads), names[side], *cells]))
    return "\n".join(rows)


def _speed_epoch(said: Mapping[str, Any]) -> str:
    rates = "; ".join(map(_rate, said["results"]))
    return f"{_epochs([said])}\n\nAn epoch is {said['settings']['images']:,} images. smallprint computes {rates}."


def _rate(result: Mapping[str, Any]) -> str:
    """How fast the arithmetic goes, beside the library's best."""
    return (
        f"{median(result['gflops']):.0f} GFLOP/s with {result['threads']} thread{'s' * (result['threads'] > 1)}, "
        f"{100 * result['share_of_product']:.0f}% of the {median(result['product_gflops']):.0f} that the product of "
        "two large matrices reaches in the same run"
    )


def _speed_contract(said: Mapping[str, Any]) -> str:
    names = {
        "course": "the notebooks' loop, seed after seed",
        "pytorch": "smallprint without a C compiler",
        "ours": "**`smallprint climb`**",
    }
    rows = ["| | minutes to the verdict | runs per hour | times smallprint's | |", "|---|--:|--:|--:|---|"]
    for side, seconds in said["seconds"].items():
        ratio, scaled = said["ratios"].get(side), "scaled from a part" if side in said["scaled"] else "whole"
        minutes = spread([second / 60 for second in seconds])
        factor = times(ratio) if ratio else "1"
        rows.append(row([names[side], minutes, f"{said['runs_per_hour'][side]:.1f}", factor, scaled]))
    verdict = f" The verdict: {said['verdict']}." if said["verdict"] else ""
    what = f"{said['seeds']} seeds of `{said['rung']}`, {said['epochs']} epochs each."
    return "\n".join([*rows, "", f"{what}{verdict}"])


def _speed_first(said: Mapping[str, Any]) -> str:
    rows = ["| from the start of the process | seconds |", "|---|--:|"]
    for state, what in (("cold", "nothing compiled before"), ("warm", "compiled before")):
        rows.append(row([f"to the line of the first epoch, {what}", spread(said["first_epoch"][state])]))
    many = said["settings"]["seeds"]
    climbed = f"{many} seeds side by side" if many > 1 else "one seed on all cores"
    if kept := [climb["seconds"] for climb in said["kept"] if climb["seconds"] is not None]:
        rows.append(row([f"to a kept contract, {climbed}, in {len(kept)} of {len(said['kept'])} climbs", spread(kept)]))
    elif said["kept"]:
        rows.append(row([f"to a kept contract, {climbed}", f"none of {len(said['kept'])} climbs kept it"]))
    parts = {
        "help": "`smallprint --help`, whole",
        "import": "`python -c 'import smallprint'`, whole",
        "trainer": "importing what trains",
        "data": "reading and checking the data set",
        "native_warm": "making the native step, compiled before (to be under 0.2)",
        "native_cold": "making the native step, compiler included (to be under 15)",
    }
    rows += ["", "| part of the start-up | seconds |", "|---|--:|"]
    rows += [row([what, spread(said["parts"][part], 3)]) for part, what in parts.items()]
    record = said["record"]
    seeds = f" By its record {record['passed']} of {record['of']} seeds keep the contract." if record else ""
    return "\n".join([*rows, "", f"`{said['rung']}`, {said['epochs']} epochs.{seeds}"])


def _speed_growth(said: Mapping[str, Any], *names: str) -> str:
    tables = []
    for name in names:
        growth = said["results"].get(name)
        if growth is None:
            tables.append(f"{name}: not yet measured.")
            continue
        mark = " **Steeper than its work.**" if growth["steeper"] else ""
        tables += [
            f"**{growth['title']}**: the cost grows with the power {growth['exponent']:.2f}, its work with "
            f"{growth['exponent_of_work']:.2f}.{mark}",
            "\n".join(
                [
                    row([growth["size"], *(f"{size:,}" for size in growth["sizes"])]),
                    f"|---|{len(growth['sizes']) * '--:|'}",
                    row([growth["cost"], *(duration(median(seconds)) for seconds in growth["seconds"])]),
                ]
            ),
        ]
    return "\n\n".join(tables)


def _speed_contended(said: Mapping[str, Any]) -> str:
    rows = [
        "| threads | trained by | a step, undisturbed | a step, contended | slowed | PyTorch's, times smallprint's |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for result in said["results"]:
        steps = [duration(median(seconds)) for seconds in result["seconds_per_step"].values()]
        ours = result["side"] == "ours"
        slower = NONE if ours else times(result["ratios"]["contended"])
        who = "**smallprint**" if ours else "PyTorch"
        rows.append(row([str(result["threads"]), who, *steps, times(result["slowed"], 2), slower]))
    return "\n".join(rows)


def _speed_gpu(said: Mapping[str, Any]) -> str:
    ways = {"eager": "one by one, eager", "stack": "stacked"}
    rows = [
        "| trained | precision | seeds at once | a step of all | runs per hour | times alone | of the memory's speed |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    (alone, *_) = (line["runs_per_hour"] for line in said["timed"] if line["way"] == "eager")
    for line in said["timed"]:
        runs, share = line["runs_per_hour"], f"{100 * line['share_of_bandwidth']:.0f}%"
        cells = [ways[line["way"]], line["precision"], f"{line['seeds']:,}", duration(line["step"])]
        rows.append(row([*cells, f"{runs:,.0f}", f"{runs / alone:,.1f}", share]))
    size = f"{said['parameters']:,} parameters, {said['epochs']} epochs of {said['steps_per_epoch']:,} steps"
    return "\n".join([*rows, "", f"{said['device']}: a network of {size}."])


_SPEED: dict[str, Callable[..., str]] = {
    "epoch": _speed_epoch,
    "contract": _speed_contract,
    "first": _speed_first,
    "growth": _speed_growth,
    "contended": _speed_contended,
    "gpu": _speed_gpu,
}
