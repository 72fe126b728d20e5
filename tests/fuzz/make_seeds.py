"""Writes the seeds of the corpus: ``python tests/fuzz/make_seeds.py``. What fuzzers found lies beside them."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent / "corpus"
HELLO = b"EHLO c.example\r\n"
OPEN = HELLO + b"MAIL FROM:<a@b.example>\r\nRCPT TO:<u@example.com>\r\nDATA\r\n"

SEEDS: dict[str, list[bytes]] = {
    "session": [
        b"\0" + OPEN + b"Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
        b"\x04" + OPEN + b"Subject: x\r\n\r\n..hi\r\n.\r\nQUIT\r\n",
        b"\0" + HELLO + b"|>MAIL FROM:<>\r\n|>RCPT TO:<u@example.com>\r\n|>DATA\r|>\nx\r\n|>.|>\r|>\nNOOP\r\n",
        b"\0" + OPEN + b"a\r\n.\nMAIL FROM:<>\r\n\r.\r\n\n.\r\n.\r\r\n\r\n.\r\n",
        b"\x01" + OPEN + b"a\nb\rc\r\r\n.\r\n",
        b"\0" + HELLO + b"MAIL FROM:<> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x\r\nRCPT TO:<u@example.com> NOTIFY=NEVER ORCPT=rfc822;u+40x\r\n",
        b"\0" + HELLO + b"MAIL FROM:<>\r\nRCPT TO:<u@example.com>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\n",
        b"\0" + HELLO + b"MAIL FROM:<>\r\nRCPT TO:<u@example.com>\r\nBDAT 99999999999999999999\r\nBDAT\r\nBDAT 5 LAST\r\na\r\n\r\n",
        b"\0" + HELLO + b"MAIL FROM:<>\r\nRCPT TO:<u@example.com>\r\nDATA\r\nx\r\n.\r\nBDAT 2 LAST\r\n\r\nRSET\r\n",
        b"\0STARTTLS\r\nVRFY x\r\nEXPN y\r\nHELP\r\nNOOP x\r\nRSET x\r\nXCLIENT ADDR=1.2.3.4\r\nAUTH PLAIN\r\nQUIT\r\nNOOP\r\n",
        b"\0GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\x16\x03\x01\x02\0\x01\0",
        b"\0" + HELLO + "MAIL FROM:<ü@ü.example> SMTPUTF8\r\nRCPT TO:<\xfc@example.com>\r\nRSET\r\n".encode(),
        b"\0" + b"NOOP " + b"x" * 2100 + b"\r\nNOOP\r\n",
        b"\0NOOP\0\r\nNOOP\nRSET\r\n\r\n\r\n",
        b"\0" + HELLO + b'MAIL FROM:<"a b"@c.example>\r\nRCPT TO:<Postmaster>\r\nRCPT TO:<"x@y"@example.com>\r\nRCPT TO:<u%v@example.com>\r\n',
        b"\x02PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n" + OPEN + b"x\r\n.\r\n",
        b"\x02PROXY UNKNOWN\r\nQUIT\r\n",
        b"\x02\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x13\x88\0\x19" + OPEN + b".\r\n",
        b"\x02EHLO probe\r\nNOOP\r\nMAIL FROM:<>\r\n",
        b"\0" + OPEN + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\n--b--\r\n.\r\n' + b"RSET\r\n" * 3,
        b"\0" + HELLO + b"MAIL FROM:<a@b.example> PRDR\r\nRCPT TO:<u@example.com>\r\nRCPT TO:<v@example.com>\r\nDATA\r\nx: y\r\n\r\nz\r\n.\r\nQUIT\r\n",
        b"\0" + HELLO + b"MAIL FROM:<a@b.example> PRDR\r\nRCPT TO:<u@example.com>\r\nRCPT TO:<v@example.com>\r\nBDAT 2\r\nx:BDAT 3 LAST\r\n y\nMAIL FROM:<> REQUIRETLS\r\n",
    ],
    "command": [b"NOOP", b"MAIL FROM:<a@b.example> SIZE=5", b"RCPT TO:<u@example.com>", b"EHLO x", b"HELO [192.0.2.1]", b"RSET", b"VRFY u", b"XYZZY 1", b"MAIL FROM:<> BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2B", b"RCPT TO:<u@example.com> NOTIFY=NEVER ORCPT=rfc822;x", "RCPT TO:<ü@example.com>".encode()],
    "xclient": [b"ADDR=192.0.2.7 PORT=25 HELO=a.example PROTO=ESMTP NAME=[UNAVAILABLE]", b"ADDR=IPV6:2001:db8::1", b"HELO=a+2Eb+C3+BC", b"DESTADDR=1.2.3.4 DESTPORT=[TEMPUNAVAIL]", b"LOGIN=x"],
    "dsn": [b"FULL", b"HDRS", b"a+2Bb", b"NEVER", b"SUCCESS,FAILURE,DELAY", b"rfc822;u+40example.com", "utf-8;ü@ü.example".encode(), b"utf-8;\\x{FC}"],
    "spf_record": [b"ip4:192.0.2.9 -all", b"a mx ptr:x.example exists:%{i}.%{d2r-}._x.%{v} ~all", b"include:b.example redirect=c.example\nv=spf1 +all", b"ip6:2001:db8::/33 a:%{l}.%{o}/24//64 -all", b"include:b.example\nv=spf1 include:c.example\n!\n", b"redirect=a.example\nv=spf1 redirect=b.example", b"exp=%{p}.%{c}%%%_%- -all", b"mx mx mx mx mx mx mx mx mx mx mx mx\nxxxxxxxxxxx"],
    "address": [b"<a@b.example>", b"<>", b'<"a\\"b c"@b.example>', b"<a@[192.0.2.1]> SIZE=1", b"<a@[IPv6:2001:db8::1]>", "<ü@bücher.example>".encode(), b"<@x,@y:a@b.example>", b"<" + b"a" * 64 + b"@b.example>", b"xn--bcher-kva.example", b"<a@b.example.>"],
    "message": [b"From: a@b\r\nSubject: x\r\n y\r\n\r\nbody\r\n", b"\r\n", b"no header", b"A : b\r\n: c\r\n\r\n\r\n", b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/a; boundary=\"y\"\r\n\r\n--y--\r\n--x--\r\n"],
    "authres_claims": [b"mx.example.com; spf=pass", b"(c (d)) \"mx.example.com\" 1; none", b"=?utf-8?q?mx.example.com?=;", b"MX.EXAMPLE.COM.", b"(unclosed mx.example.com", "mx.exämple.com; none".encode()],
    "proxy": [b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n", b"PROXY TCP6 ::1 ::2 1 2\r\n", b"PROXY UNKNOWN x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x13\x88\0\x19", b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + b"\0" * 36, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x07\xc6\x33\x64\x01\x13\x88\0\x19\x03\0\x04\0\0\0\0"],
    "dkim": [b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s; h=from:to; bh=AAAA; b=AAAA; i=@example.com; l=1; t=1; x=5", b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", b"v=DKIM1; p=", b"p=MAA=", b"b = \r\n A A", b"a=ed25519-sha256;i=1;cv=none"],
    "dmarc_record": [b"v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=r; pct=50; t=y; psd=u; rua=mailto:a@b.example!10m", b"v=DMARC1;p=none", b"v=DMARC1; rua=mailto:x@y", b"p=reject"],
    "from_field": [b"a@b.example", b'"A, B" <a@b.example>, c@d.example', b"g: a@b.example, c@d.example;", b"(c(d)) a@b.example (e", b"=?utf-8?q?a@x.example?= <a@b.example>", b"<a@[192.0.2.1]>", b"a@b.example, ,", "ü@ü.example".encode()],
    "dnsbl_site": [b"zen.example.org", b"zen.example.org=127.0.0.[2..11;10]*2", b"a.b=127.0.0.2*-1.5", b"a.b=", b"x*y"],
    "mailstore_url": [b"smtp://10.1.0.5:25?tls=verify&timeout=5", b"lmtp+unix:/run/lmtp", b"maildir:/var/mail?mode=0600", b"smtp://[::1]:25", b"lmtp://host:24?xclient=off", b"smtp://h:99999"],
    "mailstore_reply": [b"220 mx ESMTP\r\n250-a\r\n250-PIPELINING\r\n250 SIZE 5\r\n", b"250 2.1.5 ok\r\n451 4.7.1\r\n", b"250-a\r\n251 b\r\n", b"600 x\r\n", b"250\r\n\r\n", b"250-" + b"x" * 3000 + b"\r\n", b"421 bye\n354 go\r\n"],
}  # fmt: skip


def main() -> None:
    for target, seeds in SEEDS.items():
        folder = HERE / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / f"seed-{number:02}").write_bytes(seed)


if __name__ == "__main__":
    main()
