"""Sentences of the form `name key=value flag`, and the values they spell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

from smallprint.spec.errors import NotationError, listing, nearest
from smallprint.spec.notation import Word, count, number, plain, quantity, statements

T = TypeVar("T")


def read_sentence(text: str, names: Mapping[str, type[T]], what: str) -> T:
    """Read one sentence whose first word names a dataclass of `names`.

    The dataclass's fields are the keys; each says its unit in `metadata["unit"]` (see `_value`).

    Raises:
        NotationError: an unknown name or key, a wrong unit, a value out of range.
    """
    words = [word for statement in statements(text) for word in statement]
    if not words:
        raise NotationError(f"{what} is empty; known: {listing(names)}")
    if words[0].text not in names:
        raise words[0].fault(
            f"no {what} is called {words[0].text!r}; known: {listing(names)}" + nearest(words[0].text, names)
        )
    return read_words(words[1:], names[words[0].text], words[0].text, start=words[0])


def read_words(words: list[Word], kind: type[T], owner: str, start: Word) -> T:
    """Read `key=value` words into a dataclass; `start` is where a fault of the whole is shown.

    Raises:
        NotationError: an unknown key, a key said twice, a wrong unit, a value out of range.
    """
    keys = _keys(kind)
    said: dict[str, object] = {}
    for word in words:
        key, equals, text = word.text.partition("=")
        at = word.part(text, len(key) + 1)
        if not equals and (direct := _direct(keys)) and direct not in said:
            key, equals, at = direct, "=", word
        if key not in keys:
            raise word.fault(
                f"{owner} has no {key!r}; it takes {listing(_forms(keys)) or 'nothing'}" + nearest(key, keys)
            )
        if key in said:
            raise word.fault(f"{key!r} is said twice")
        is_flag = keys[key].metadata["unit"] == "flag"
        if is_flag == bool(equals):
            raise word.fault(
                f"{key!r} stands alone, without '='"
                if is_flag
                else f"{key!r} needs a value: {_forms(keys)[list(keys).index(key)]}"
            )
        said[key] = True if is_flag else _value(at, key, keys[key].metadata["unit"])
    missing = [key for key, field in keys.items() if field.metadata.get("required") and key not in said]
    if missing:
        raise start.fault(f"{owner} needs {listing(_forms({key: keys[key] for key in missing}))}")
    try:
        return kind(**said)
    except NotationError:
        raise
    except ValueError as fault:
        raise start.fault(str(fault)) from None


def sentence(name: str, value: object) -> str:
    """The sentence that reads back as `value`; keys at their default are left out."""
    words = [name] if name else []
    for key, field in _keys(type(value)).items():
        held = getattr(value, key)
        if held == field.default and not field.metadata.get("required"):
            continue
        unit = field.metadata["unit"]
        if unit == "flag":
            words.append(key)
        elif field.metadata.get("direct"):
            words.append(_spelled(held, unit))
        else:
            words.append(f"{key}={_spelled(held, unit)}")
    return " ".join(words)


def _keys(kind: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in fields(kind) if "unit" in field.metadata}


def _direct(keys: Mapping[str, Field[Any]]) -> str | None:
    """The key whose value stands without `key=`, as in `ema 0.998`."""
    return next((key for key, field in keys.items() if field.metadata.get("direct")), None)


def _forms(keys: Mapping[str, Field[Any]]) -> list[str]:
    forms = []
    for key, field in keys.items():
        unit = field.metadata["unit"]
        example = {"number": "0.1", "count": "6", "fraction": "1/255", "rung": "NAME-OF-A-RUNG"}.get(unit, f"5{unit}")
        if isinstance(unit, tuple):
            example = "|".join(unit)
        forms.append(key if unit == "flag" else example if field.metadata.get("direct") else f"{key}={example}")
    return forms


def _value(word: Word, key: str, unit: str | tuple[str, ...]) -> object:
    """Read one value: a number, a count, a fraction, a choice, or a number with its unit."""
    if isinstance(unit, tuple):
        if word.text not in unit:
            raise word.fault(f"{key} is one of {listing(unit)}, not {word.text!r}" + nearest(word.text, unit))
        return word.text
    if unit == "number":
        return number(word, key)
    if unit == "count":
        return count(word, key, least=0)
    if unit == "rung":
        return word.text
    if unit == "fraction":
        over, slash, under = word.text.partition("/")
        if not slash:
            return number(word, key)
        return number(word.part(over, 0), key) / count(word.part(under, len(over) + 1), key)
    return quantity(word, key, unit)


def _spelled(value: object, unit: str | tuple[str, ...]) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    if unit == "fraction":
        grey = round(value * 255)
        return f"{grey}/255" if grey and grey / 255 == value else plain(float(value))
    return plain(float(value)) + (unit if isinstance(unit, str) and unit not in ("number", "count") else "")
