"""The scenarios of the lab and the words it uses for them: the single source of truth."""

from catalogue.alerts import ALERTS, alert_name
from catalogue.errors import CatalogueError, LabError, ManifestError, nearest
from catalogue.load import DEFAULT_PATH, POSITIVE_CONTROL, load
from catalogue.model import (
    ACCEPTED,
    GOOD_SERVER,
    NON_OUTCOMES,
    PUBLIC_PATH,
    TLS_UNKNOWN,
    Catalogue,
    Crl,
    CrlCheck,
    Expectation,
    Mode,
    Needs,
    Outcome,
    Scenario,
    Sends,
    Server,
    Tls,
    Tool,
    Trust,
    Variant,
)
from catalogue.verify_errors import VERIFY_ERRORS

__all__ = [
    "ACCEPTED",
    "ALERTS",
    "DEFAULT_PATH",
    "GOOD_SERVER",
    "NON_OUTCOMES",
    "POSITIVE_CONTROL",
    "PUBLIC_PATH",
    "TLS_UNKNOWN",
    "VERIFY_ERRORS",
    "Catalogue",
    "CatalogueError",
    "Crl",
    "CrlCheck",
    "Expectation",
    "LabError",
    "ManifestError",
    "Mode",
    "Needs",
    "Outcome",
    "Scenario",
    "Sends",
    "Server",
    "Tls",
    "Tool",
    "Trust",
    "Variant",
    "alert_name",
    "load",
    "nearest",
]
