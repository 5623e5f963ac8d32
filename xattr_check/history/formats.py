"""Records of earlier versions, as this one has them."""

import re
from collections.abc import Mapping
from typing import Any


def current(record: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    """A record of a document of that version, with the fields that it lacks.

    Before version 4 what is a field now stood in words: this is the one place that reads them.
    """
    if version >= 4:
        return record
    gate = str(record.get("gate", "none"))
    bound = re.fullmatch(r"[≤≥] (\S+)", gate)
    sentence = str(record["sentence"]).removeprefix(f"{record['check']}: ")
    # The figure, in whatever digits, and its interval, where the sentence goes on from them.
    figure = (
        re.match(r"-?[\d.e+-]+ (\[[^\]]*\] )?", sentence) if record.get("statistic") is not None else None
    )
    return {
        **record,
        "bound": float(bound[1]) if bound else None,
        "beats": bound is None and gate != "none",
        "sentence": sentence[figure.end() :] if figure else sentence,
        "continues": figure is not None,
    }
