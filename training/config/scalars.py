"""What all sections are made of: the scalar values, each with its rule."""

from __future__ import annotations

from os.path import abspath
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

__all__ = ["NAME", "TASK", "Columns", "Name", "Place", "Rate", "Section", "Share", "one_or_more"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
#: A task names an output of the model.
TASK = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


def _beside_file(value: Path, info: ValidationInfo) -> Path:
    # links are kept: the name of what they point to may tell no format
    return Path(abspath(info.context["base"] / value)) if info.context else value  # noqa: PTH100


def one_or_more(value: object) -> object:
    """Let a list of one be written as what is in it."""
    return value if isinstance(value, list | tuple) else [value]


Name = Annotated[str, Field(pattern=NAME)]
#: A path relative to the configuration's file.
Place = Annotated[Path, AfterValidator(_beside_file)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
#: A column, or several.
Columns = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]


class Section(BaseModel):
    """Strict, frozen; a string below a key describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
