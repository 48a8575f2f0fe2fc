"""TLS by the gateway itself: a certificate and its key, seen to fit before anything listens."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from builder.errors import UsageError


@dataclass(frozen=True)
class Tls:
    """Files in PEM.

    Args:
        certificate: the server's own, with those between it and its root behind it.
        key: of the certificate, without a password; "" where the certificate's file holds it too.
    """

    certificate: str
    key: str = ""

    def require(self) -> None:
        """Raise UsageError where a server could not speak TLS with them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # a key with a password is not asked for one: nobody might be there
            context.load_cert_chain(self.certificate, self.key or None, password=lambda: "")
        except (OSError, ValueError) as error:  # SSLError is an OSError
            files = " and ".join(filter(None, (self.certificate, self.key)))
            raise UsageError(
                f"{files} cannot be used for TLS: {error}",
                expected="a certificate in PEM and its own key, which has no password",
                remedy="see what they hold: `openssl x509 -in FILE -text`, `openssl pkey -in KEY -check`",
            ) from error


def of_options(certificate: Path | None, key: Path | None) -> Tls | None:
    """Return what two options of a command mean, None for no TLS. Raises UsageError."""
    if certificate is None:
        if key is not None:
            raise UsageError(
                "--tls-key was given without --tls-certificate", remedy="pass both, or neither of them"
            )
        return None
    tls = Tls(str(certificate.absolute()), str(key.absolute()) if key else "")
    tls.require()
    return tls
