"""The report says what was measured, all of it, and nothing that a ladder's author could smuggle in."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from smallprint.results.assessment import RungResult, assess
from smallprint.results.diagnosis import Finding
from smallprint.results.runs import Run
from smallprint.spec.contract import Contract
from smallprint.spec.ladder import Ladder, Published
from smallprint.spec.ladder_file import read_ladder, shipped
from smallprint.spec.recipe import Distilled, Hard, Recipe
from smallprint.views.gallery import Pictures
from smallprint.views.report import summarise, write_report

Fabricate = Callable[..., Run]
Answer = Callable[..., Run]
HOSTILE = '<script>alert(1)</script> & "x" | y `z` <img src=http://evil.example/p.png>\n# *a* [b](http://evil.example)'


class Page(HTMLParser):
    """Tags, ids, references and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str | None] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "xlink:href", "action", "srcset"):
                self.references.append(value or "")
            self.references += [f"#{found}" for found in re.findall(r"url\(#([^)]+)\)", value or "")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def results(
    ladder: Ladder, pictures: Pictures, tmp_path: Path, fabricate: Fabricate, answer: Answer
) -> list[RungResult]:
    base, norm, drop = ladder.rungs[:3]
    first = answer(fabricate(ladder, norm, 0, level=99.5), pictures, tmp_path / "answers", wrong=30)
    return [
        assess(ladder, base, []),
        assess(ladder, norm, [first, *(fabricate(ladder, norm, seed, level=99.3) for seed in (1, 2))]),
        assess(ladder, drop, [fabricate(ladder, drop, 0, status="diverged", epochs=3)]),
    ]


@pytest.fixture
def written(ladder: Ladder, results: list[RungResult], pictures: Pictures, tmp_path: Path) -> tuple[str, str]:
    html, markdown = write_report(ladder, results, tmp_path / "report", pictures)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_no_image_is_drawn_where_no_mistakes_are_asked_for(
    ladder: Ladder, pictures: Pictures, fabricate: Fabricate, answer: Answer, tmp_path: Path
) -> None:
    rung = ladder.rungs[0]
    run = answer(fabricate(ladder, rung, 0), pictures, tmp_path / "run", wrong=7)
    result = assess(ladder, rung, [run])
    for mistakes, shown in ((7, True), (0, False)):
        html, markdown = write_report(ladder, [result], tmp_path, pictures, mistakes=mistakes)
        assert ("data:image/png" in html.read_text(encoding="utf-8")) == shown
        assert ("-worst.svg" in markdown.read_text(encoding="utf-8")) == shown
        assert "-confusion.svg" in markdown.read_text(encoding="utf-8")


def test_both_reports_say_the_title_the_contract_and_every_target(
    ladder: Ladder, results: list[RungResult], written: tuple[str, str]
) -> None:
    for text in (Page(written[0]).text, written[1]):
        assert ladder.title in text
        assert str(ladder.contract) in text
        assert all(result.rung.target in text for result in results)


def test_every_clause_of_every_seed_and_the_verdict_stand_there_word_by_word(
    results: list[RungResult], written: tuple[str, str]
) -> None:
    for text in (Page(written[0]).text, unescape(written[1])):
        for result in results[1:]:
            assert result.verdict
            assert result.verdict.text[1:] in text
            for seed in result.verdict.seeds:
                assert all(str(clause) in text for clause in seed.clauses)


def test_a_clause_that_all_seeds_share_is_said_once(written: tuple[str, str]) -> None:
    section = written[1].split("## 2. ")[1].split("the published run")[0]
    assert section.count("parameters kept") == 1
    assert section.count("accuracy ") >= 3


def test_every_finding_comes_with_its_evidence_and_its_advice(
    results: list[RungResult], written: tuple[str, str]
) -> None:
    for text in (Page(written[0]).text, unescape(written[1]).replace("\\", "")):
        for result in results:
            for finding in result.findings:
                assert finding.name in text
                assert finding.evidence in text
                assert finding.advice in text


def test_the_summary_is_that_of_the_seeds(results: list[RungResult]) -> None:
    found = summarise(results[1], 5)
    runs = results[1].runs
    worst = [min(epoch.test_correct for epoch in run.epochs[-5:]) / 100 for run in runs]
    assert found.mean == pytest.approx(fmean(worst))
    assert found.sd == pytest.approx(stdev(worst))
    assert found.best_test == max(epoch.test_correct for run in runs for epoch in run.epochs) / 100
    assert found.seconds == pytest.approx(fmean(epoch.seconds for run in runs for epoch in run.epochs))
    assert (found.finished, found.published_best, found.published_worst) == (3, 99.31, 99.12)


def test_a_seed_that_diverged_has_no_part_in_the_mean(
    ladder: Ladder, results: list[RungResult], fabricate: Fabricate
) -> None:
    rung = ladder.rungs[1]
    runs = [*results[1].runs, fabricate(ladder, rung, 3, status="diverged", epochs=9)]
    found = summarise(assess(ladder, rung, runs), 5)
    assert found.mean == summarise(results[1], 5).mean
    assert (len(found.ended), found.finished) == (4, 3)


def test_the_row_of_a_rung_shows_its_numbers(results: list[RungResult], written: tuple[str, str]) -> None:
    found = summarise(results[1], 5)
    row = next(line for line in written[1].splitlines() if line.startswith("| 2 | batchnorm |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    verdict = results[1].verdict
    assert verdict
    low, high = (100 * bound for bound in verdict.interval)
    assert cells[2:] == [
        "7,864", "1,045,312", f"{found.mean:.2f}%", f"{found.sd:.3f}", "3", "99.12%", f"{found.best_test:.2f}%",
        "99.31%", verdict.outcome, f"{verdict.passed} of 3, {low:.1f} to {high:.1f}%", "broken",
    ]  # fmt: skip


def test_a_rung_without_runs_is_not_measured_and_its_size_is_known_all_the_same(written: tuple[str, str]) -> None:
    for text, end in ((Page(written[0].split('id="rung-1"')[1].split("</section>")[0]).text, "Layers"), (
        written[1].split("## 1. base")[1].split("## 2. ")[0], "| layer")):  # fmt: skip
        assert text.count("not measured") >= 2
        assert "7,704" in text
        assert "per epoch" not in text.split(end)[0]


def test_a_run_that_has_not_ended_counts_for_nothing_and_says_how_far_it_is(
    ladder: Ladder, tmp_path: Path, fabricate: Fabricate
) -> None:
    rung = replace(ladder.rungs[1], published=None)
    ladder = replace(ladder, rungs=(rung,))
    running = fabricate(ladder, rung, 0, status="training", epochs=7)
    broken = replace(fabricate(ladder, rung, 1, status="failed", epochs=2), reason="out of memory")
    for path in write_report(ladder, [assess(ladder, rung, [running, broken])], tmp_path):
        text = path.read_text(encoding="utf-8")
        assert "not measured" in text
        assert "training, 7 of 15 epochs" in text
        assert "failed, 2 of 15 epochs: out of memory" in text
        assert "accuracy.svg" not in text
        assert "accuracy kept" not in text
        assert "accuracy broken" not in text


def test_the_honest_sentences_are_there(written: tuple[str, str]) -> None:
    for text in (Page(written[0]).text.lower(), written[1].lower()):
        assert "the test set was looked at after every epoch; a certificate needs fresh seeds." in text
        assert "measured during the epoch, with dropout and augmentation on" in text
        assert "the best test epoch of any seed is only for comparison" in text
        assert "base 0, batchnorm 3, dropout 1" in text


def test_an_average_that_is_judged_is_said(ladder: Ladder, tmp_path: Path) -> None:
    rung = replace(ladder.rungs[0], recipe=Recipe.parse({"optimiser": "sgd lr=0.1", "average": "ema 0.99"}))
    changed = replace(ladder, rungs=(rung,))
    for path in write_report(changed, [assess(changed, rung, [])], tmp_path / "a"):
        assert "Judged are the averaged weights." in path.read_text(encoding="utf-8")
    for path in write_report(ladder, [assess(ladder, ladder.rungs[0], [])], tmp_path / "b"):
        assert "Judged are the averaged weights." not in path.read_text(encoding="utf-8")


def test_what_train_numbers_are_of_is_said_where_hard_images_are_drawn_more_often(
    ladder: Ladder, tmp_path: Path, fabricate: Fabricate
) -> None:
    rung = ladder.rungs[0]
    hard = replace(rung, recipe=replace(rung.recipe, sampling=Hard()))
    said = "Where hard images are drawn more often, train loss and accuracy are of every training image"
    for one in (rung, hard):
        alone = replace(ladder, rungs=(one,))
        for path in write_report(alone, [assess(alone, one, [fabricate(alone, one, 0)])], tmp_path / one.name):
            text = path.read_text(encoding="utf-8")
            assert (said in text) == (one is hard)
            assert ("measured during the epoch where every image is drawn once" in text) == (one is hard)
            assert ("dropout and augmentation on, unless a rung says otherwise." in text) == (one is hard)


def test_a_taught_rung_is_shown_with_the_size_of_its_teacher_and_the_epochs_of_both(
    ladder: Ladder, tmp_path: Path
) -> None:
    teacher, rung = ladder.rungs[0], ladder.rungs[1]
    pupil = replace(rung, recipe=replace(rung.recipe, loss=Distilled(teacher=teacher.name)))
    taught = replace(ladder, rungs=(teacher, pupil))
    html, markdown = write_report(taught, [assess(taught, one, []) for one in taught.rungs], tmp_path)
    said = taught.taught(pupil)
    assert said and markdown.read_text(encoding="utf-8").count(f"; {said}") == 1
    page = Page(html.read_text(encoding="utf-8")).text
    assert f"taught by {said.by} {said.parameters:,} parameters, {said.epochs} epochs" in page
    assert f"epochs, teacher and pupil together {said.together}" in page


def test_what_changed_since_the_rung_before_is_shown(written: tuple[str, str]) -> None:
    assert "-after conv3: relu\n+after conv3: relu batchnorm\n" in written[1]
    assert "- after conv3: relu + after conv3: relu batchnorm" in Page(written[0]).text
    assert "| parameters | 7,704 | 7,864 |" in written[1]


def test_what_was_published_stands_beside_ours(written: tuple[str, str]) -> None:
    assert "The source: Its first epoch did not learn: no batch norm, and a small learning rate." in written[1]
    assert "| best train epoch | – | 98.63% |" in written[1]  # noqa: RUF001


def test_every_rung_says_whether_its_published_run_kept_the_contract_and_how_many_of_ours_do(
    ladder: Ladder, tmp_path: Path, fabricate: Fabricate
) -> None:
    kept, known = ladder.rung("steplr-adam"), replace(ladder.rungs[0], published=Published(best_test=99.9))
    changed = replace(ladder, rungs=(known, kept))
    runs = [fabricate(changed, kept, seed, level=level) for seed, level in enumerate((99.6, 99.1, 99.7))]
    results = [assess(changed, known, []), assess(changed, kept, runs)]
    html, markdown = (path.read_text(encoding="utf-8") for path in write_report(changed, results, tmp_path))
    rows = [line.split(" | ")[-1].strip(" |") for line in markdown.splitlines() if re.match(r"\| [12] \|", line)]
    assert rows == ["not known", "kept"]
    assert "| contract | – | not known |" in markdown  # noqa: RUF001
    assert "| contract | kept by 2 of 3 seeds | kept |" in markdown
    assert "* the published run: accuracy kept: epoch 12 had 9,943 of 10,000, 3 to spare" in markdown
    section = Page(html.split('id="rung-2"')[1]).text
    assert "contract kept by 2 of 3 seeds kept" in section
    assert "published kept accuracy kept: epoch 12 had 9,943 of 10,000, 3 to spare parameters kept" in section


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_ladder_is_reported_with_its_published_curves_beside_ours(
    name: str, tmp_path: Path, fabricate: Fabricate
) -> None:
    ladder = read_ladder(name)
    results = [
        assess(ladder, rung, [fabricate(ladder, rung, seed) for seed in range(3 if number else 0)])
        for number, rung in enumerate(ladder.rungs)
    ]
    _, markdown = write_report(ladder, results, tmp_path)
    for number, result in enumerate(results, start=1):
        curve = tmp_path / "report-pictures" / f"{number:02d}-{result.rung.name}-accuracy.svg"
        assert curve.exists() == (number > 1)
        if curve.exists():
            published = bool(result.rung.published and result.rung.published.test)
            assert (">published<" in curve.read_text(encoding="utf-8")) == published
    captions = re.findall(r"(?m)^Accuracy, .*mean of 3 seeds, in a band", markdown.read_text(encoding="utf-8"))
    assert len(captions) == len(results) - 1


def test_every_layer_has_its_row(results: list[RungResult], written: tuple[str, str]) -> None:
    for step in results[1].trace.steps:
        if step.macs:
            assert f"{step.parameters:,} | {step.macs:,} | {step.receptive_field} |" in written[1]
    assert "| **total** | 10 × 1 × 1 | 7,864 | 1,045,312 | 32 |" in written[1]  # noqa: RUF001


@pytest.fixture
def hostile(
    ladder: Ladder, pictures: Pictures, tmp_path: Path, fabricate: Fabricate, answer: Answer
) -> tuple[str, str]:
    """A report on a ladder whose every text is hostile."""
    rung = replace(ladder.rungs[0], name=HOSTILE, target=HOSTILE, published=Published(test=(99.0,) * 15, note=HOSTILE))
    changed = replace(ladder, title=HOSTILE, name="hostile", rungs=(rung,))
    pictures = replace(pictures, class_names=(HOSTILE, "</text><script>", *"23456789"))
    run = answer(fabricate(changed, rung, 0), pictures, tmp_path / "answers", wrong=40)
    run = replace(run, environment=replace(run.environment, device=HOSTILE))
    finding = Finding(name=HOSTILE, evidence=HOSTILE, advice=HOSTILE)
    failed = replace(fabricate(changed, rung, 1, status="failed", epochs=1), reason=HOSTILE)
    result = replace(assess(changed, rung, [run, failed]), findings=(finding,))
    html, markdown = write_report(changed, [result], tmp_path / "report", pictures)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_no_text_of_a_ladder_becomes_markup_in_the_page(hostile: tuple[str, str]) -> None:
    page = Page(hostile[0])
    assert page.tags["script"] == 0
    assert page.tags["img"] == 0
    assert page.text.count("<script>alert(1)</script>") > 8
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)


def test_no_text_of_a_ladder_becomes_markup_in_markdown(hostile: tuple[str, str]) -> None:
    text = hostile[1]
    assert "<" not in text
    assert not re.search(r"(?<!\\)`(?!``|diff)", text.replace("```", ""))
    assert not re.search(r"(?<!\\)\]\((?!report-pictures/)", text)
    assert text.count("\n# ") == 0
    tables = [line for line in text.splitlines() if line.startswith("|")]
    for line, after in pairwise(tables):
        if set(after) <= set("|-: "):
            assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", after))
    summary = next(line for line in tables if line.startswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", summary)) == 14


def test_the_page_needs_nothing_from_outside(written: tuple[str, str]) -> None:
    page = Page(written[0])
    assert "http" not in written[0]
    assert "@import" not in written[0]
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)


def test_every_id_of_the_page_is_its_own_and_every_reference_finds_its_id(written: tuple[str, str]) -> None:
    page = Page(written[0])
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert len(page.ids) > 10
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)


def test_the_page_draws_in_its_own_colours(written: tuple[str, str]) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", written[0], flags=re.DOTALL))
    assert "var(--accent)" in drawn
    assert "prefers-color-scheme: dark" in written[0]
    assert not re.findall(r"(?:fill|stroke): #(?!000000|ffffff)[0-9a-f]{6}", drawn)


def test_every_picture_of_the_markdown_is_a_file_beside_it(written: tuple[str, str], tmp_path: Path) -> None:
    linked = re.findall(r"\]\((report-pictures/[^)]+)\)", written[1])
    files = {f"report-pictures/{path.name}" for path in (tmp_path / "report" / "report-pictures").iterdir()}
    assert set(linked) == files
    assert len(linked) == 7  # the ladder; two curves of each measured rung; the mistakes of the one with answers
    for name in files:
        ET.fromstring((tmp_path / "report" / name).read_text(encoding="utf-8"))


def test_the_same_results_are_the_same_bytes(
    ladder: Ladder, results: list[RungResult], pictures: Pictures, tmp_path: Path
) -> None:
    for path, again in zip(
        write_report(ladder, results, tmp_path / "a", pictures),
        write_report(ladder, results, tmp_path / "b", pictures),
        strict=True,
    ):
        assert path.read_bytes() == again.read_bytes()


def test_without_test_images_or_with_others_no_mistakes_are_shown(
    ladder: Ladder, results: list[RungResult], pictures: Pictures, tmp_path: Path
) -> None:
    fewer = replace(pictures, images_NCHW=pictures.images_NCHW[:9], labels_N=pictures.labels_N[:9])
    for images in (None, fewer):
        text = write_report(ladder, results, tmp_path, images)[1].read_text(encoding="utf-8")
        assert "confusion" not in text


def test_a_ladder_of_which_nothing_is_known_but_its_text_is_reported(ladder: Ladder, tmp_path: Path) -> None:
    rungs = tuple(replace(rung, published=None) for rung in ladder.rungs)
    bare = replace(ladder, rungs=rungs)
    html, markdown = write_report(bare, [assess(bare, rung, []) for rung in rungs], tmp_path)
    assert "ladder.svg" not in markdown.read_text(encoding="utf-8")
    assert Page(html.read_text(encoding="utf-8")).text.count("not measured") >= 3 * len(rungs)


def test_the_contract_that_was_judged_is_the_one_that_is_said(
    ladder: Ladder, tmp_path: Path, fabricate: Fabricate
) -> None:
    other = Contract.parse({"accuracy": ">= 98%", "last_epochs": 1})
    rung = ladder.rungs[1]
    result = assess(ladder, rung, [fabricate(ladder, rung, 0)], other)
    text = write_report(ladder, [result], tmp_path)[1].read_text(encoding="utf-8")
    assert str(other) in text
    assert "last 1 " not in text.split("## 1. ")[0]
    assert "last epoch, test: mean" in text


def test_many_seeds_are_all_there_and_folded(ladder: Ladder, tmp_path: Path, fabricate: Fabricate) -> None:
    rung = ladder.rungs[1]
    result = assess(ladder, rung, [fabricate(ladder, rung, seed) for seed in range(9)])
    page = Page(write_report(ladder, [result], tmp_path)[0].read_text(encoding="utf-8"))
    assert page.tags["details"] == 1
    assert "3 more seeds" in page.text
    assert all(f"seed {seed} " in page.text for seed in range(9))


def test_mistakes_are_those_of_the_first_seed_that_kept_its_answers(
    written: tuple[str, str], results: list[RungResult], pictures: Pictures
) -> None:
    answers = results[1].runs[0].answers()
    assert answers
    wrong = int(np.sum(answers["predicted"] != pictures.labels_N))
    assert f"Seed 0: {wrong} of 200 test images wrong." in written[1]
    assert f"The 24 with the highest loss of {wrong} wrong images" in written[1]
