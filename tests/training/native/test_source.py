from __future__ import annotations

import re

from smallprint.spec.ladder import read_ladder
from smallprint.spec.network import Network
from smallprint.spec.trace import trace
from smallprint.training.native.plan import plan
from smallprint.training.native.source import write_source


def test_the_same_plan_gives_the_same_text() -> None:
    ladder = read_ladder("progressive")
    planned = plan(ladder.trace(ladder.rung("steplr-adam")))
    assert write_source(planned, 32) == write_source(planned, 32)
    assert write_source(planned, 32) != write_source(planned, 16)


def test_names_and_words_of_a_person_never_reach_the_text() -> None:
    """Two networks that compute the same, said in other words and layout, give one text."""
    said = "every conv3: pad=1; after conv3: relu; conv3-8 conv3-8 gap conv1-10 # comment */ #include </etc/passwd>"
    plain = "conv3-8,pad=1 relu conv3-8,pad=1 relu gap conv1-10"
    first, second = (write_source(plan(trace(Network.parse(text), (1, 9, 9))), 32) for text in (said, plain))
    first, second = (re.sub(r"\s+", " ", text) for text in (first, second))
    assert first == second
    assert "passwd" not in first


def test_every_stage_is_in_both_tables() -> None:
    planned = plan(trace(Network.parse("conv3-8 batchnorm relu gap conv1-10"), (1, 9, 9)))
    text = write_source(planned, 32)
    stages = [f"forward_{index}" for index in range(len(planned.stages))]
    assert f"forward[])(struct group *) = {{{', '.join(stages)}}};" in text
    assert ".parameters = 168," in text
