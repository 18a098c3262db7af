"""The scenarios of the lab and the words it uses for them: the single source of truth."""

from catalogue.alerts import ALERTS, alert_name
from catalogue.errors import CatalogueError, LabError, ManifestError, nearest
from catalogue.load import DEFAULT_PATH, POSITIVE_CONTROL, load
from catalogue.model import (
    ACCEPTED,
    NON_OUTCOMES,
    Catalogue,
    Expectation,
    Mode,
    Outcome,
    Scenario,
    Sends,
    Server,
    Tls,
)

__all__ = [
    "ACCEPTED",
    "ALERTS",
    "DEFAULT_PATH",
    "NON_OUTCOMES",
    "POSITIVE_CONTROL",
    "Catalogue",
    "CatalogueError",
    "Expectation",
    "LabError",
    "ManifestError",
    "Mode",
    "Outcome",
    "Scenario",
    "Sends",
    "Server",
    "Tls",
    "alert_name",
    "load",
    "nearest",
]
