"""How the world sees us: the records to publish, TLSA and MTA-STS, and a look at our hosts as strangers have it.

tlsa      digests of keys (RFC 6698, RFC 7672)          mta_sts   the policy file (RFC 8461)
records   what to publish, from the settings            report    lines of a judgement, with their exit code
visit     one SMTP session as a stranger                domain    DNS of a domain, judged
probe     every address of every MX, compared           agreement MX, MTA-STS patterns, certificates, TLSA
key_roll  the order in which a key is replaced
"""
