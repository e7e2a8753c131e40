"""Writes the tables in README and docs from records, shipped ladders and benchmark results.

    python docs/tables.py            write them
    python docs/tables.py --check    say which would change; status 1 if any

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a function of this file, and words behind it
are what the function is given.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from smallprint.results.assessment import RungResult, assess
from smallprint.results.record import read_record
from smallprint.results.verdict import counted_clauses, worst_of_last
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder
from smallprint.spec.ladder_file import parse_ladder, read_ladder

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BELOW = 0.15  # points below the published best that ask for a remark
NONE, NOT_MEASURED = "\N{EN DASH}", "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the seeds of a rung measured, in percent; only those that trained to their end."""

    best: tuple[float, ...]  # the best test epoch of each seed
    worst: tuple[float, ...]  # the worst of the last test epochs of each seed

    @staticmethod
    def of(result: RungResult, last: int) -> Measured | None:
        """None where nothing was measured."""
        finished = [run for run in result.runs if run.status == "finished"]
        worst = (worst_of_last(run, last) for run in finished)
        measured = Measured(
            best=tuple(run.best_test for run in finished),
            worst=tuple(100 * correct / total for found in worst if found for _, correct, total in [found]),
        )
        return measured if measured.best and measured.worst else None


def progressive() -> str:
    """Source 003's ladder at a glance: what it published, what we measured, what the contract says of it."""
    ladder, command, results = _assessed("progressive")
    last = ladder.contract.last_epochs
    rows = [
        f"| rung | parameters | published best | our best | worst of the last {last} | seeds that keep the contract |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for result in results:
        measured = Measured.of(result, last)
        cells = [result.rung.name, f"{result.trace.parameters:,}", _percent(_published_best(result))]
        if measured and result.verdict:
            kept = f"{result.verdict.passed} of {result.verdict.of}"
            cells += [_percent(fmean(measured.best)), _percent(min(measured.worst)), kept]
        else:
            cells += [NOT_MEASURED, NONE, NONE]
        rows.append(_row(cells))
    return "\n".join([*rows, "", f"Ours: `{command}`; the best epoch is the mean over the seeds."])


def published(name: str) -> str:
    """A ladder rung by rung, published beside ours; then what its sources contradict, and where we stay below them."""
    ladder, command, results = _assessed(name)
    last = ladder.contract.last_epochs
    rows = [
        "| rung | parameters | published best | published run | our best: mean | sd | n | ours minus published "
        f"| our worst of the last {last}: mean | lowest | seeds that keep the contract |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|",
        *(_row([*_published_cells(result), *_our_cells(result, last)]) for result in results),
    ]
    said = f"Ours: `{command}`." if command else f"None of it is measured yet: there is no `records/{name}.json`."
    notes = [
        f"- **{result.rung.name}**: {result.rung.published.note}"
        for result in results
        if result.rung.published and result.rung.published.note
    ]
    lists = {
        "What to know of the published numbers:": notes,
        f"Below the published best by more than {BELOW} points:": list(_below(ladder, results)),
    }
    paragraphs = [["\n".join(rows), said], *([title, "\n".join(lines)] for title, lines in lists.items() if lines)]
    return "\n\n".join(text for paragraph in paragraphs for text in paragraph)


def records(dataset: str) -> str:
    """Certified rungs on a data set beside what others have claimed, from the smallest network to the largest."""
    ours = list(_certified(dataset))
    rows = [
        "| parameters | network | epochs | promised test accuracy | worst of the last epochs | seeds "
        "| keep the promise | pass rate at least |",
        "|--:|---|--:|---|---|--:|--:|---|",
        *(_row([f"{size:,}", *cells]) for size, cells in sorted([*ours, *_claimed()], key=lambda row: row[0])),
    ]
    return "\n".join(rows if ours else [*rows, "", "None of our rungs is certified yet."])


def _certified(dataset: str) -> Iterator[tuple[int, list[str]]]:
    """Parameters and the other cells of every rung of which a record has a certificate."""
    for path in sorted((ROOT / "records").glob("*.json")):
        record = read_record(path)
        for recorded in record.rungs:
            certificate = recorded.certificate
            if certificate is None or not certificate.of:
                continue
            ladder = parse_ladder(recorded.text, name=record.ladder)
            if ladder.dataset != dataset:
                continue
            rung, contract = ladder.rung(recorded.name), record.contract
            counted = [run for run in recorded.runs if certificate.counts(run.seed)]
            measured = Measured.of(assess(ladder, rung, counted), contract.last_epochs)
            who = f"**[{ladder.name}:{rung.name}](../records/{path.name})**"
            if teacher := ladder.teacher(rung):
                size = f"{ladder.trace(teacher).parameters:,} parameters, {teacher.recipe.epochs} epochs"
                who += f", distilled from `{teacher.name}` ({size})"
            yield (
                recorded.parameters,
                [
                    who,
                    str(rung.recipe.epochs),
                    _promised(contract),
                    f"{min(measured.worst):.2f}, mean {fmean(measured.worst):.2f}" if measured else NONE,
                    str(certificate.of),
                    str(certificate.passed),
                    f"{floor(1000 * certificate.rate_at_least) / 10:.1f}%, {certificate.outcome}",
                ],
            )


def _claimed() -> Iterator[tuple[int, list[str]]]:
    """Parameters and the other cells of what others have published; each rests on one training."""
    said = tomllib.loads((ROOT / "docs" / "public-claims.toml").read_text(encoding="utf-8"))
    contract = Contract.parse(said["contract"])
    for claim in said["claim"]:
        size, epochs, last = claim["parameters"], claim["epochs"], claim.get("last")
        if last:
            clauses = counted_clauses(contract, parameters=size, macs=0, epochs=epochs)
            kept = all(clause.kept for clause in clauses)
            kept = kept and all(contract.accuracy.allows(Fraction(str(accuracy))) for accuracy in last)
            found = [_promised(contract), f"{min(last):.2f}", "1", str(int(kept))]
        else:
            found = [NONE, f"not published; {claim['best']:.2f} is the {claim['note']}", "1", "not known"]
        yield size, [claim["source"], f"{epochs:,}", *found, NONE]


def _promised(contract: Contract) -> str:
    return f"{contract.accuracy}% in each of the last {contract.last_epochs}"


def _assessed(name: str) -> tuple[Ladder, str, list[RungResult]]:
    """A shipped ladder, the command of its record (empty without one), and every rung judged by its recorded runs."""
    ladder, path = read_ladder(name), ROOT / "records" / f"{name}.json"
    record = read_record(path) if path.exists() else None
    runs = {rung.name: rung.runs for rung in record.rungs} if record else {}
    results = [assess(ladder, rung, runs.get(rung.name, ())) for rung in ladder.rungs]
    return ladder, record.command if record else "", results


def _published_best(result: RungResult) -> float | None:
    return result.rung.published.best_test if result.rung.published else None


def _published_cells(result: RungResult) -> list[str]:
    outcome = result.published.outcome if result.published else NONE
    cells = [result.rung.name, f"{result.trace.parameters:,}", _percent(_published_best(result))]
    return [*cells, f"**{outcome}**" if outcome == "kept" else outcome]


def _our_cells(result: RungResult, last: int) -> list[str]:
    measured, verdict, theirs = Measured.of(result, last), result.verdict, _published_best(result)
    if not verdict or not verdict.of:
        return [NOT_MEASURED, *6 * [NONE]]
    low, high = (100 * bound for bound in verdict.interval)
    kept = f"{verdict.passed} of {verdict.of} ({low:.1f} to {high:.1f}%)"
    if not measured:
        return [*6 * [NONE], kept]
    return [
        _percent(fmean(measured.best)),
        f"{stdev(measured.best):.3f}" if len(measured.best) > 1 else NONE,
        str(len(measured.best)),
        NONE if theirs is None else f"{fmean(measured.best) - theirs:+.2f}",
        _percent(fmean(measured.worst)),
        _percent(min(measured.worst)),
        kept,
    ]


def _below(ladder: Ladder, results: Sequence[RungResult]) -> Iterator[str]:
    """A line for each rung whose mean stays clearly below the published best, with the remark on it."""
    remarks = tomllib.loads((ROOT / "docs" / "published-remarks.toml").read_text(encoding="utf-8"))
    for result in results:
        measured, theirs = Measured.of(result, ladder.contract.last_epochs), _published_best(result)
        if measured and theirs is not None and (short := theirs - fmean(measured.best)) > BELOW:
            remark = remarks.get(ladder.name, {}).get(result.rung.name, "not explained yet.")
            yield f"- **{result.rung.name}**, by {short:.2f}: {remark}"


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def epoch() -> str:
    """All sides of the epoch benchmark."""
    said = _result("epoch")
    assert said
    names = {
        "course": "the notebooks' loop",
        "nchw": "PyTorch on whole tensors",
        "nhwc": "the same, channels_last",
        "bfloat16": "the same, bfloat16 autocast",
        "compile": "the same, torch.compile",
        "ours": "**smallprint**",
    }
    rows = ["| threads | trained by | seconds per epoch | times smallprint's |", "|--:|---|--:|--:|"]
    for result in said["results"]:
        for side, seconds in result["seconds"].items():
            ratio = result["ratios"].get(side)
            rows.append(_row([str(result["threads"]), names[side], _spread(seconds), _times(ratio) if ratio else "1"]))
    return "\n".join(rows)


def speed(name: str, *parts: str) -> str:
    """What a benchmark found, with when, where and how; or that it is not yet measured."""
    said = _result(name)
    if said is None:
        return f"Not yet measured: `python -m benchmarks {name} --write` does it."
    return f"{_SPEED[name](said, *parts)}\n\n{_made(said)}"


def compared() -> str:
    """What a search found beside chance and beside narrowing the starting rung, in equal time."""
    said = _result("search")
    if said is None:
        return "Not yet measured: `python -m benchmarks search --write` does it."
    names = {"search": "`smallprint search`", "random": "drawn by chance", "narrowed": "the starting rung narrowed"}
    rows = [
        _row(
            ["way", "parameters found, by repeat", "median", "trainings", "fresh seeds that keep it on the test images"]
        ),
        _row(["---", "---", "--:", "---", "---"]),
    ]
    for way, name in names.items():
        rounds = [one for one in said["rounds"] if one["way"] == way]
        sizes = [one["parameters"] for one in rounds]
        some = [size for size in sizes if size is not None]
        rows.append(_row([
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


def _result(name: str) -> dict[str, Any] | None:
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


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


def _speed_epoch(said: Mapping[str, Any]) -> str:
    rates = [
        f"{median(result['gflops']):.0f} GFLOP/s with {result['threads']} thread{'s' * (result['threads'] > 1)}, "
        f"{100 * result['share_of_product']:.0f}% of the {median(result['product_gflops']):.0f} that the product of "
        "two large matrices reaches in the same run"
        for result in said["results"]
        if "gflops" in result
    ]
    return f"{epoch()}\n\nAn epoch is {said['settings']['images']:,} images. smallprint computes {'; '.join(rates)}."


def _speed_contract(said: Mapping[str, Any]) -> str:
    names = {
        "course": "the notebooks' loop, seed after seed",
        "pytorch": "smallprint without a C compiler",
        "ours": "**`smallprint climb`**",
    }
    rows = ["| | minutes to the verdict | runs per hour | times smallprint's | |", "|---|--:|--:|--:|---|"]
    for side, seconds in said["seconds"].items():
        ratio, scaled = said["ratios"].get(side), "scaled from a part" if side in said["scaled"] else "whole"
        minutes = _spread([second / 60 for second in seconds])
        times = _times(ratio) if ratio else "1"
        rows.append(_row([names[side], minutes, f"{said['runs_per_hour'][side]:.1f}", times, scaled]))
    verdict = f" The verdict: {said['verdict']}." if said["verdict"] else ""
    what = f"{said['seeds']} seeds of `{said['rung']}`, {said['epochs']} epochs each."
    return "\n".join([*rows, "", f"{what}{verdict}"])


def _speed_first(said: Mapping[str, Any]) -> str:
    rows = ["| from the start of the process | seconds |", "|---|--:|"]
    for state, what in (("cold", "nothing compiled before"), ("warm", "compiled before")):
        rows.append(_row([f"to the line of the first epoch, {what}", _spread(said["first_epoch"][state])]))
    for climb in said["kept"]:
        kept = climb["seconds"] is not None
        what = (
            f"to a kept contract (seed {climb['seed']})" if kept else f"to a kept contract, in {climb['ended']} seeds"
        )
        rows.append(_row([what, f"{climb['seconds']:.0f}" if kept else "none kept it"]))
    parts = {
        "help": "`smallprint --help`, whole",
        "import": "`python -c 'import smallprint'`, whole",
        "trainer": "importing what trains",
        "data": "reading and checking the data set",
        "native_warm": "making the native step, compiled before (to be under 0.2)",
        "native_cold": "making the native step, compiler included (to be under 15)",
    }
    rows += ["", "| part of the start-up | seconds |", "|---|--:|"]
    rows += [_row([what, _spread(said["parts"][part], 3)]) for part, what in parts.items()]
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
                    _row([growth["size"], *(f"{size:,}" for size in growth["sizes"])]),
                    f"|---|{len(growth['sizes']) * '--:|'}",
                    _row([growth["cost"], *(_duration(median(seconds)) for seconds in growth["seconds"])]),
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
        steps = [_duration(median(seconds)) for seconds in result["seconds_per_step"].values()]
        ours = result["side"] == "ours"
        times = NONE if ours else _times(result["ratios"]["contended"])
        who = "**smallprint**" if ours else "PyTorch"
        rows.append(_row([str(result["threads"]), who, *steps, _times(result["slowed"], 2), times]))
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
        cells = [ways[line["way"]], line["precision"], f"{line['seeds']:,}", _duration(line["step"])]
        rows.append(_row([*cells, f"{runs:,.0f}", f"{runs / alone:,.1f}", share]))
    size = f"{said['parameters']:,} parameters, {said['epochs']} epochs of {said['steps_per_epoch']:,} steps"
    return "\n".join([*rows, "", f"{said['device']}: a network of {size}."])


def _spread(measured: Sequence[float], digits: int = 1) -> str:
    """Median, lowest and highest; of a single measurement only itself."""
    if len(measured) == 1:
        return f"{measured[0]:.{digits}f}"
    return f"{median(measured):.{digits}f} ({min(measured):.{digits}f} to {max(measured):.{digits}f})"


def _times(ratio: Mapping[str, float], digits: int = 1) -> str:
    middle, low, high = (f"{ratio[key]:.{digits}f}" for key in ("median", "lowest", "highest"))
    return middle if low == high else f"{middle} ({low} to {high})"


def _duration(seconds: float) -> str:
    """In the unit that suits it."""
    unit, size = next((found for found in (("s", 1.0), ("ms", 1e-3)) if seconds >= found[1]), ("µs", 1e-6))
    value = seconds / size
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


def rewritten(text: str) -> str:
    """A page with every table made anew."""
    return re.sub(
        r"(<!-- table: (\w+)((?: [\w-]+)*) -->\n)(?:(?!<!--).)*(<!-- end -->)",
        lambda found: found[1] + TABLES[found[2]](*found[3].split()) + "\n" + found[4],
        text,
        flags=re.DOTALL,
    )


_SPEED: dict[str, Callable[..., str]] = {
    "epoch": _speed_epoch,
    "contract": _speed_contract,
    "first": _speed_first,
    "growth": _speed_growth,
    "contended": _speed_contended,
    "gpu": _speed_gpu,
}
TABLES: dict[str, Callable[..., str]] = {
    "progressive": progressive,
    "published": published,
    "records": records,
    "epoch": epoch,
    "speed": speed,
    "compared": compared,
}


def main() -> int:
    changed = [
        page for page in PAGES if rewritten(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]
    for page in changed:
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
    return int(bool(changed) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
