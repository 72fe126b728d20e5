"""How the world sees us: the records to publish, TLSA and MTA-STS, and a look at our hosts as strangers have it.

records    what to publish, from the settings            own_keys   TLSA of the keys at hand
tlsa       digests of keys (RFC 6698, RFC 7672)          mta_sts    the policy file (RFC 8461)
hosts      the MX hosts of a domain, from DNS            sts_host   the policy as it is published
domain     DNS of a domain, judged                       visit      one SMTP session as a stranger
probe      every address of every MX, compared           agreement  MX, settings, MTA-STS, certificates, TLSA
key_roll   the order in which a key is replaced          report     lines of a judgement, and their exit code
"""
