"""``python -m gateway`` is ``mxgw``."""

from gateway.cli.main import main

raise SystemExit(main())
