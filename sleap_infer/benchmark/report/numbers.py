"""Numbers as text, for the terminal and the page."""

from __future__ import annotations


def number(value: float) -> str:
    """Format a number with two or three significant digits.

    >>> number(1234.5), number(61.04), number(0.6), number(0.0371), number(12000), number(0)
    ('1,234', '61.0', '0.60', '0.037', '12,000', '0')
    """
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def pixels(value: float) -> str:
    """Format a distance in pixels.

    >>> pixels(0), pixels(0.0000076), pixels(0.0123), pixels(4.2)
    ('0', '< 0.001', '0.012', '4.20')
    """
    return "< 0.001" if 0 < value < 0.001 else number(value)


def plain_number(value: float) -> str:
    """Format the number of a tick.

    >>> plain_number(20.0), plain_number(0.001), plain_number(100000.0)
    ('20', '0.001', '100,000')
    """
    return f"{value:,.0f}" if value >= 1000 else f"{value:.10g}"
