"""Settings of a node (``gateway.yaml``): what they are (``model``) and how they are read (``load``).

Known gaps: see the two modules.
"""

from gateway.config.load import load_settings
from gateway.config.model import (
    AdminSettings,
    DnsSettings,
    LimitsSettings,
    ListenerSettings,
    LogSettings,
    ProxyProtocolSettings,
    RouteSettings,
    Settings,
    TlsSettings,
    split_address,
)

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
