"""Settings of a node (``gateway.yaml``): what they are (``model``, ``limits_section``) and how they
are read (``load``).

Known gaps: see the two modules.
"""

from gateway.config.admin_section import AdminSettings
from gateway.config.limits_section import LimitsSettings
from gateway.config.load import load_settings
from gateway.config.model import (
    DnsSettings,
    ListenerSettings,
    LogSettings,
    ProxyProtocolSettings,
    RouteSettings,
    Settings,
)
from gateway.config.place import split_address
from gateway.config.tls_section import TlsSettings

__all__ = [
    "AdminSettings",
    "DnsSettings",
    "LimitsSettings",
    "ListenerSettings",
    "LogSettings",
    "ProxyProtocolSettings",
    "RouteSettings",
    "Settings",
    "TlsSettings",
    "load_settings",
    "split_address",
]
