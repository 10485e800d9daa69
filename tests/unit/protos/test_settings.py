"""Log and trace settings: read, or updated as a whole by those who may."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

import pytest

from protos import logs, oip
from protos.errors import AccordError, Reason
from protos.oip import LogSettings, messages

if TYPE_CHECKING:
    from collections.abc import Iterator

READ = messages.LogSettingsRequest()
SCALARS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


def update(**settings: bool | int | str | None) -> Any:
    request = messages.LogSettingsRequest()
    for name, value in settings.items():
        if value is None:
            request.settings[name].SetInParent()
        else:
            setattr(request.settings[name], SCALARS[type(value)], value)
    return request


def told(response: Any) -> dict[str, bool | int | str]:
    return {name: getattr(v, v.WhichOneof("parameter_choice")) for name, v in response.settings.items()}


def refused(request: Any, *, may_update: bool = True) -> tuple[str, str]:
    with pytest.raises(AccordError) as caught:
        oip.log_settings(request, LogSettings(), may_update=may_update)
    return caught.value.reason.name, caught.value.field


@pytest.mark.parametrize("may_update", [True, False])
def test_a_blank_request_reads(may_update: bool) -> None:
    """Anyone may read; all settings are told with their types, and nothing changes."""
    current = LogSettings(log_verbose_level=2, log_format="json")
    settings, response = oip.log_settings(READ, current, may_update=may_update)
    assert settings == current
    assert told(response) == {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 2,
        "log_format": "json",
    }


def test_an_update_changes_what_it_names() -> None:
    """The rest stays, and the answer tells the new state."""
    settings, response = oip.log_settings(
        update(log_verbose_level=1), LogSettings(log_format="json"), may_update=True
    )
    assert settings == LogSettings(log_verbose_level=1, log_format="json")
    assert told(response)["log_verbose_level"] == 1
    quiet, _ = oip.log_settings(update(log_info=False, log_verbose_level=0), settings, may_update=True)
    assert quiet == LogSettings(log_info=False, log_format="json")


def test_an_update_without_permission_is_refused() -> None:
    """Even one that would change nothing: it is the call that is not permitted."""
    assert refused(update(log_info=True), may_update=False) == ("MODEL_FORBIDDEN", "settings")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"log_file": "/etc/passwd"}, "settings['log_file']"),
        ({"log_file": ""}, "settings['log_file']"),
        ({"log_format": "ISO8601"}, "settings['log_format']"),
        ({"log_info": 1}, "settings['log_info']"),
        ({"log_info": None}, "settings['log_info']"),
        ({"log_verbose_level": True}, "settings['log_verbose_level']"),
        ({"log_verbose_level": "1"}, "settings['log_verbose_level']"),
        ({"log_warnings": True}, "settings['log_warnings']"),
        ({"log_warning": False}, "settings"),
        ({"log_verbose_level": 1, "log_info": False}, "settings"),
        ({"log_error": False}, "settings"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_place(settings: dict[str, Any], field: str) -> None:
    """Files, forms, wrong types, unknown names, and levels that are no threshold."""
    assert refused(update(**settings)) == ("PARAMETER_INVALID", field)


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        (LogSettings(log_verbose_level=1), logging.DEBUG),
        (LogSettings(), logging.INFO),
        (LogSettings(log_info=False), logging.WARNING),
        (LogSettings(log_info=False, log_warning=False), logging.ERROR),
        (LogSettings(log_info=False, log_warning=False, log_error=False), logging.CRITICAL),
    ],
)
def test_each_threshold_is_a_level(settings: LogSettings, level: int) -> None:
    """The lowest level that is on is where logging begins."""
    assert oip.level_of(settings) == level


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_an_update_changes_what_is_logged(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the settings to the lines on standard error, through the real set-up, and back again."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure("json")
    log, settings = logging.getLogger("some.module"), LogSettings(log_format="json")
    written = []
    for change in (update(log_verbose_level=1), update(log_verbose_level=0, log_info=False)):
        settings, _ = oip.log_settings(change, settings, may_update=True)
        logs.set_level(oip.level_of(settings))
        log.debug("quiet")
        log.info("usual")
        log.warning("loud")
        written.append([word for word in ("quiet", "usual", "loud") if word in stream.getvalue()])
        stream.truncate(0)
    assert written == [["quiet", "usual", "loud"], ["loud"]]
    assert root.level == logging.WARNING


def test_tracing_is_told_to_be_off() -> None:
    """The honest state, with the names that clients look for."""
    response = oip.trace_settings(messages.TraceSettingRequest())
    assert {name: list(value.value) for name, value in response.settings.items()} == {
        "trace_level": ["OFF"],
        "trace_rate": ["0"],
        "trace_count": ["0"],
        "log_frequency": ["0"],
        "trace_file": [""],
    }


def test_tracing_cannot_be_switched_on() -> None:
    """An update is not obeyed, and says why."""
    request = messages.TraceSettingRequest()
    request.settings["trace_level"].value.append("TIMESTAMPS")
    with pytest.raises(AccordError) as caught:
        oip.trace_settings(request)
    assert (caught.value.reason, caught.value.field) == (Reason.UNSUPPORTED, "settings")
    assert "W3C trace context" in caught.value.message
