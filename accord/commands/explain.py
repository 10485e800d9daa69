"""How the commands of training end where something is wrong: in words, never with a trace."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from accord.commands.output import fail, refuse_config
from protos.document import ConfigError
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["explained"]


@contextmanager
def explained(*, as_json: bool) -> Iterator[None]:
    """End the command with what a person can mend: exit code 2 for a configuration, 1 for all else."""
    try:
        yield
    except ConfigError as error:
        refuse_config(error, as_json=as_json)
    except TrainingError as error:
        fail(str(error), as_json=as_json)
    except ImportError as error:
        fail(
            f"training needs more packages: install accord-gateway[train] ({error})",
            as_json=as_json,
        )
    except OSError as error:  # of a place that no module looks after by itself
        place = error.filename or "the disk"
        fail(f"{place}: {error.strerror or error}; mend it, or name another place", as_json=as_json)
    except MemoryError:
        fail("the memory is used up; use fewer rows, data.max_rows, or a smaller batch", as_json=as_json)
