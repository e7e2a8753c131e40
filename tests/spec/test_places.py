from __future__ import annotations

from smallprint.spec.places import places

TEXT = '''title = "x"  # 1
[recipe]
optimiser = "sgd"
[[rung]]
name = "a"
network = """
conv3-8
gap"""
[[rung]]
network = """conv3-8
gap"""
[rung.recipe]
  "batch" = 5
'''


def test_every_key_has_its_line_and_that_of_its_text() -> None:
    assert places(TEXT) == {
        ("title",): (1, 1),
        ("recipe",): (2, 2),
        ("recipe", "optimiser"): (3, 3),
        ("rung", 0): (4, 4),
        ("rung", 0, "name"): (5, 5),
        ("rung", 0, "network"): (6, 7),
        ("rung", 1): (9, 9),
        ("rung", 1, "network"): (10, 10),
        ("rung", 1, "recipe"): (12, 12),
        ("rung", 1, "recipe", "batch"): (13, 13),
    }


def test_what_stands_inside_a_text_is_no_key() -> None:
    assert places("note = '''\n[table]\nkey = 5\n'''\nlast = 1") == {("note",): (1, 2), ("last",): (5, 5)}
