"""A well-behaved client in a process of its own: ``python good_client.py PORT SECONDS`` sends a message in a session of its
own, again and again, from 127.0.0.2, and prints ``[[seconds, code], ...]``. A 4yz or a refused session is told as it is.
"""

from __future__ import annotations

import json
import smtplib
import sys
import time

MESSAGE = b"From: Ann <ann@sender.example>\r\nTo: <user@example.com>\r\nSubject: lunch\r\n\r\n" + b"At noon?\r\n" * 100


def one(port: int) -> int:
    try:
        with smtplib.SMTP(timeout=30, source_address=("127.0.0.2", 0), local_hostname="client.sender.example") as smtp:
            code, _ = smtp.connect("127.0.0.1", port)
            if code != 220:
                return code
            smtp.sendmail("ann@sender.example", ["user@example.com"], MESSAGE)
            return 250
    except smtplib.SMTPConnectError as error:
        return error.smtp_code
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (OSError, smtplib.SMTPException):
        return 0


def main() -> None:
    port, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    heard = []
    while not heard or time.monotonic() < end:
        began = time.monotonic()
        code = one(port)
        heard.append([round(time.monotonic() - began, 4), code])
        time.sleep(0.05)
    print(json.dumps(heard))


if __name__ == "__main__":
    main()
