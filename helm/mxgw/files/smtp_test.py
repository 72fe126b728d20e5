"""What `helm test` asks of the nodes: greeting, EHLO, STARTTLS, no open relay, no AUTH, one policy everywhere.

python smtp_test.py --smtp HOST:PORT [--pods HOST:PORT] [--admin HOST:PORT [--admin-tls]] [--name MX ...] [--proxy]
                    [--certificate]
smtp: the way clients come, to one node. pods, admin: a name with the addresses of all pods; each is asked.
Needs Python alone. Prints one line a question, and what could not be asked; leaves with 1 when an answer is wrong.
"""

import argparse
import http.client
import json
import smtplib
import socket
import ssl
import sys

WANTED = ("starttls", "pipelining", "8bitmime", "size", "enhancedstatuscodes")
FAULTS = []


def place(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def say(good, text):
    print(("ok    " if good else "WRONG ") + text, flush=True)
    if not good:
        FAULTS.append(text)
    return good


def not_tested(text):
    print("-     not tested: " + text, flush=True)


def addresses(text):
    """Every address behind a name, and the port."""
    host, port = place(text)
    return sorted({info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}), port


class Client(smtplib.SMTP):
    """proxy: speak as a balancer does, for a client of its own address."""

    def __init__(self, proxy):
        super().__init__(timeout=15)
        self.proxy = proxy

    def _get_socket(self, host, port, timeout):
        sock = super()._get_socket(host, port, timeout)
        if self.proxy:
            ours, theirs = sock.getsockname()[:2], sock.getpeername()[:2]
            family = "TCP6" if ":" in ours[0] else "TCP4"
            sock.sendall(f"PROXY {family} {ours[0]} {theirs[0]} {ours[1]} {theirs[1]}\r\n".encode())
        return sock


def greeted(host, port, proxy):
    """A client, and what it hears first."""
    client = Client(proxy)
    code, text = client.connect(host, port)
    if proxy and code == 220:
        # our header and the greeting may have crossed: then its refusal answers the first command
        refused, why = client.noop()
        if refused == 421:
            return client, refused, why
    return client, code, text


def smtp(args, host, port):
    client, code, text = greeted(host, port, args.proxy)
    if args.proxy and code == 421:
        # perhaps direct clients are served
        client, code, text = greeted(host, port, False)
    greeting = text.decode(errors="replace")
    if args.proxy and code == 421 and "PROXY" in greeting:
        say(True, f"who is no balancer is refused ({code} {greeting})")
        not_tested("greeting, EHLO, TLS, relaying: this pod is not in proxyProtocol.trusted; ask with `mxgw probe`")
        return
    if not say(code == 220, f"the greeting is 220 ({code} {greeting})"):
        return
    name = greeting.split()[0]
    say(not args.name or name in args.name, f"its name is one of ours ({name})")
    client.ehlo("helm-test.invalid")
    missing = [word for word in WANTED if not client.has_extn(word)]
    say(not missing, "EHLO offers all that a sender looks for" + (f"; not {', '.join(missing)}" if missing else ""))
    say(not client.has_extn("auth"), "EHLO offers no AUTH")
    if client.has_extn("starttls"):
        # the name that the handshake asks for
        client._host = name
        client.starttls(context=unverified())
        say(client.sock.version() in ("TLSv1.2", "TLSv1.3"), f"TLS is 1.2 or newer ({client.sock.version()})")
        if args.certificate:
            say(covers(client.sock.getpeercert(binary_form=True), name), f"the certificate names {name}")
        client.ehlo("helm-test.invalid")
        say(not client.has_extn("starttls"), "STARTTLS is not offered twice")
        say(not client.has_extn("auth"), "EHLO offers no AUTH after STARTTLS either")
    client.mail("")
    code, text = client.rcpt("open-relay-test@not-ours.invalid")
    say(400 <= code <= 599, f"mail for others is not taken ({code} {text.decode(errors='replace')})")
    client.quit()


def covers(octets, name):
    """Whether the certificate is for that name; read with what the image has anyway."""
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(octets)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    return name in dns or "*." + name.partition(".")[2] in dns


def unverified():
    """TLS with whom we have asked by its address."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def got(host, port, path, tls):
    """Status and content of a page of the admin port."""
    if tls:
        asked = http.client.HTTPSConnection(host, port, timeout=10, context=unverified())
    else:
        asked = http.client.HTTPConnection(host, port, timeout=10)
    asked.request("GET", path)
    answer = asked.getresponse()
    return answer.status, answer.read()


def sessions(args):
    """One session the way clients come, one with each pod."""
    host, port = place(args.smtp)
    places = [(f"the Service {host}", host, port)]
    if args.pods:
        found, port = addresses(args.pods)
        places += [(f"the pod {each}", each, port) for each in found]
    for what, host, port in places:
        print(f"{what}, port {port}:", flush=True)
        try:
            smtp(args, host, port)
        except (OSError, smtplib.SMTPException) as error:
            say(False, f"SMTP: {error!r}")


def policies(args):
    digests = {}
    found, port = addresses(args.admin)
    for each in found:
        status, text = got(each, port, "/readyz", args.admin_tls)
        say(status == 200, f"{each} is ready ({text.decode().strip()})")
        status, text = got(each, port, "/statusz", args.admin_tls)
        if status in (401, 403):
            not_tested(f"the policy of {each}: its /statusz is guarded")
            continue
        digests[each] = json.loads(text)["policy"]["digest"]
    if digests:
        say(len(set(digests.values())) == 1, f"all have one policy ({', '.join(sorted(set(digests.values())))})")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smtp", required=True)
    parser.add_argument("--pods")
    parser.add_argument("--admin")
    parser.add_argument("--admin-tls", action="store_true")
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--certificate", action="store_true")
    args = parser.parse_args()
    try:
        sessions(args)
    except OSError as error:
        say(False, f"addresses: {error!r}")
    if not args.admin:
        not_tested("readiness and policies: the admin port is on a loopback address")
    else:
        try:
            policies(args)
        except (OSError, ValueError, KeyError) as error:
            say(False, f"admin port: {error!r}")
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main())
