"""Measurements of TensorRT's tactics, kept for the next build."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from sleap_infer.system.cache_directory import make_private, require_private
from sleap_infer.system.files import replacing

SUM_BYTES = 32
"""Of the SHA-256 in front of the measurements."""

logger = logging.getLogger(__name__)


def read_timings(config: Any, path: Path | None) -> Any:
    """Give a builder the measurements of earlier builds; return the cache that it adds to.

    Args:
        config: of the builder.
        path: of the file; `None` for no cache.
    """
    if path is None:
        return None
    known = _read_sealed(path)
    cache = config.create_timing_cache(known)
    if cache is not None:
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _read_sealed(path: Path) -> bytes:
    """Return what `write_timings` wrote behind its SHA-256; nothing where that differs."""
    if not path.is_file():
        return b""
    require_private(path.parent)
    content = path.read_bytes()
    if hashlib.sha256(content[SUM_BYTES:]).digest() == content[:SUM_BYTES]:
        return content[SUM_BYTES:]
    logger.warning("the cache entry %s is damaged: tactics are measured again", path)
    return b""


def write_timings(cache: Any, path: Path | None) -> None:
    """Write measurements of a build. Best effort: a build without them is only slower."""
    if cache is None or path is None:
        return
    try:
        make_private(path.parent)
        data = bytes(cache.serialize())
        with replacing(path) as beside:
            beside.write_bytes(hashlib.sha256(data).digest() + data)
    except OSError as error:
        logger.debug("timings are not kept: %s", error)
