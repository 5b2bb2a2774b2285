"""What all parts of the config share. Leaves to others: the parts (`config_models`, `config_mapping`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, without unknown keys, and never repeating its input in an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
