"""matplotlib figures as inline SVG that takes on the page's colours and font, describes itself, and is small."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from ..plot import style

# Colours become the page's variables, so that a figure looks right on dark and light pages alike.
_COLOURS = {
    style.DATA: "var(--data)",
    style.MODEL: "var(--model)",
    style.BEST: "var(--best)",
    style.INK: "var(--ink)",
    style.FAINT: "var(--faint)",
    "#ffffff": "var(--paper)",
}


def to_svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as an ``<svg>`` element; equal figures give equal text.

    ``name`` distinguishes its ids from those of other figures on the page; ``alt`` says what it shows to those who
    cannot see it.
    """
    svg = _draw(figure, name)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)  # matplotlib also writes every text into a comment
    svg = _one_path_per_cloud(svg)
    svg = re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"#[0-9a-f]{6}", lambda m: _COLOURS.get(m[0], m[0]), svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("xlink:href", "href")
    body = svg[svg.index(">") + 1 :]
    width, height = figure.get_size_inches() * 72
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" role="img" '
        f'aria-label="{escape(alt)}" style="min-width:{width * 1.05:.0f}px;max-width:{width * 1.35:.0f}px">'
    )
    return Markup(opening + re.sub(r"\s*\n\s*", "\n", body))


def _draw(figure: Figure, name: str) -> str:
    # Explicit None for every key: no date, no version, no external links.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "axes.unicode_minus": True}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Column names are text in the SVG: the reader's browser has glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r".*constrained_layout not applied")
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return buffer.getvalue()


def _one_path_per_cloud(svg: str) -> str:
    """Replaces the many ``<use>`` elements of a scatter of dots by one path of round dots: a tenth of the size."""

    def path(match: re.Match[str]) -> str:
        uses = re.findall(r'<use [^>]*?x="([-\d.]+)" y="([-\d.]+)" style="([^"]*)"', match[0])
        colour = re.search(r"fill: (#[0-9a-f]{6})(?:; fill-opacity: ([\d.]+))?", uses[0][2])
        if colour is None:
            return match[0]
        dots = "".join(f"M{float(x):.1f} {float(y):.1f}h0" for x, y, _ in uses)
        opacity = f"; stroke-opacity: {colour[2]}" if colour[2] else ""
        return f'<path d="{dots}" style="stroke: {colour[1]}{opacity}" class="dots"/>'

    return re.sub(r"(?:<use [^>]*/>\s*){20,}", path, svg)
