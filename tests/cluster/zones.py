"""The test bed's addresses, and its zones as operators publish them (bed.py)."""

from __future__ import annotations

NODES = ("mx1", "mx2", "mx3")
CORE, BALANCER, SENDER = "203.0.113.2", "203.0.113.80", "203.0.113.90"
SENDER6 = "2001:db8::90"
PLACES = {
    "mx1": ("203.0.113.10/24", "203.0.113.11/24", "203.0.113.50/24", "2001:db8::10/64"),
    "mx2": ("203.0.113.20/24", "198.51.100.20/24", "198.51.100.21/24", "198.51.100.60/24", "2001:db8::20/64"),
    "mx3": ("203.0.113.30/24", "2001:db8::30/64"),
    "core": (f"{CORE}/24", "2001:db8::2/64"),
    "lb": (f"{BALANCER}/24", "2001:db8::80/64"),
    "mta": (f"{SENDER}/24", f"{SENDER6}/64"),
}
EQUAL = """
@ IN MX 10 mx1.example.com.
@ IN MX 10 mx2.example.com.
mx1 IN A 203.0.113.10
mx2 IN A 203.0.113.20
mx1 IN AAAA 2001:db8::10
mx2 IN AAAA 2001:db8::20
"""
ZONES = {
    "example.com": EQUAL,
    "three.example": "@ MX 10 mx1\n@ MX 10 mx2\n@ MX 10 mx3\n"
    "mx1 A 203.0.113.10\nmx2 A 203.0.113.20\nmx3 A 203.0.113.30\n"
    "mx1 AAAA 2001:db8::10\nmx2 AAAA 2001:db8::20\nmx3 AAAA 2001:db8::30\n",
    "pairs.example": "@ 3600 MX 10 mx1\n@ 3600 MX 10 mx2\n"
    "mx1 3600 A 203.0.113.10\nmx1 3600 A 203.0.113.11\nmx2 3600 A 198.51.100.20\nmx2 3600 A 198.51.100.21\n",
    "many.example": "@ MX 10 mx\nmx A 203.0.113.10\nmx A 203.0.113.20\nmx A 203.0.113.30\n"
    "mx AAAA 2001:db8::10\nmx AAAA 2001:db8::20\nmx AAAA 2001:db8::30\n",
    "ranked.example": "@ 3600 MX 10 mx-primary\n@ 3600 MX 20 mx-backup\n"
    "mx-primary 3600 A 203.0.113.50\nmx-backup 3600 A 198.51.100.60\n",
    "balanced.example": f"@ MX 10 lb\nlb A {BALANCER}\nlb AAAA 2001:db8::80\n",
    "postfix.example": "@ MX 10 mx1\n@ MX 10 mx2\nmx1 A 203.0.113.10\nmx2 A 203.0.113.20\n",
    "sender.example": f'@ TXT "v=spf1 ip4:{SENDER} ip6:{SENDER6} -all"\nmta A {SENDER}\n*.sender.example. TXT "v=spf1 ip4:{SENDER} ip6:{SENDER6} -all"\nmta AAAA {SENDER6}\n'
    f'mta TXT "v=spf1 ip4:{SENDER} ip6:{SENDER6} -all"\n@ MX 10 mta\n',
    "113.0.203.in-addr.arpa": "90 PTR mta.sender.example.\n",
}
"""Equal MX; the same with three; two addresses for each name; one name with all addresses; 10 and 20; the balancer."""
TO_DOVECOT = tuple(
    zone for zone in ZONES if zone not in ("postfix.example", "sender.example", "113.0.203.in-addr.arpa")
)
