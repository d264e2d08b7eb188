"""Signing a request as S3 asks for it (AWS Signature Version 4), for requests that no storage makes."""

import hashlib
import hmac
import urllib.request
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

from holdfast.core.access import S3Credentials


def signed(request: urllib.request.Request, credentials: S3Credentials, region: str) -> None:
    """Add the headers that prove who asks."""
    now = datetime.now(UTC)
    parts = urlsplit(request.full_url)
    body = request.data if isinstance(request.data, bytes) else b""
    headers = {
        "host": parts.netloc,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
    }
    names = ";".join(sorted(headers))
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    lines = [request.get_method(), parts.path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), ""]
    canonical = "\n".join([*lines, names, headers["x-amz-content-sha256"]])
    scope = f"{now:%Y%m%d}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + credentials.secret_access_key.encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, digest])).hex()
    proof = f"Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    for name, value in {**headers, "authorization": f"AWS4-HMAC-SHA256 {proof}"}.items():
        request.add_header(name, value)


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
