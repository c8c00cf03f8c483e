"""For HTTP clients of this machine's servers: `httpx.get(url, verify=NO_TLS)`.

Without it httpx reads the machine's certificates for each client, which takes ten times as long as the call.
"""

from __future__ import annotations

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
