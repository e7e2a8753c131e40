from __future__ import annotations

import optuna

from smallprint.searching.genes import Asked
from tests.searching.spaces import Dice


def ask(asked: Asked) -> tuple[object, ...]:
    return (
        asked.choice("colour", ("red", "green")),
        asked.number("batch", (32, 64, 128)),
        asked.whole("tail", 0, 35, step=5),
        asked.even("strength", 0.0, 1.5),
        asked.log_even("pace", 0.3, 3.0),
    )


def test_what_was_answered_is_kept_by_name_in_the_order_of_the_questions() -> None:
    asked = Asked(Dice(3))
    answers = ask(asked)
    assert list(asked.genes) == ["colour", "batch", "tail", "strength", "pace"]
    assert tuple(asked.genes.values()) == answers


def test_a_trial_of_optuna_answers_and_keeps_the_same() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        asked = Asked(trial)
        ask(asked)
        assert trial.params == asked.genes
        assert asked.genes["batch"] in (32, 64, 128)
        assert asked.genes["tail"] in range(0, 36, 5)
