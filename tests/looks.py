"""Small pictures of pages, and how much two of them differ apart from their letters."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.browser import Page

FAMILY = "Same on every machine"
BLOCK = 12  # pixels of a small picture, a line or two of text: letters become an even grey
COLOURS = 64  # of a stored picture


@cache
def fonts() -> dict[str, str]:
    """The font that Matplotlib brings along, by weight, as base64."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    names = {"normal": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf"}
    return {weight: base64.b64encode((folder / name).read_bytes()).decode() for weight, name in names.items()}


def same_letters(page: Page) -> None:
    """Set the page in one font, whatever the machine has: lines break at the same words."""
    page.run(
        f"""(async () => {{
          for (const [weight, text] of Object.entries({json.dumps(fonts())})) {{
            const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
            document.fonts.add(await new FontFace({FAMILY!r}, bytes, {{weight}}).load());
          }}
          const style = document.createElement("style");
          style.textContent = "* {{ font-family: {FAMILY!r} !important }}";
          document.head.append(style);
          for (let i = 0; i < 3; i += 1) await new Promise((done) => requestAnimationFrame(done));
        }})()"""
    )


def picture(page: Page, width: int, selector: str | None = None) -> Image.Image:
    """A picture of what is seen, or of one element, `width` pixels wide."""
    clip: dict[str, Any] = {}
    if selector:
        page.place(selector)
        box = page.run(
            f"(() => {{const b = document.querySelector({selector!r}).getBoundingClientRect();"
            "return [b.x + scrollX, b.y + scrollY, b.width, b.height].map(Math.round)})()"
        )
        clip = {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1},
                "captureBeyondViewport": True}  # fmt: skip
    data = base64.b64decode(page.send("Page.captureScreenshot", **clip)["data"])
    whole = Image.open(io.BytesIO(data)).convert("RGB")
    return whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.BOX)


def differences(wanted: Image.Image, found: Image.Image) -> NDArray[np.float64]:
    """How much the mean colours of two pictures differ, block by block, from 0 to 1.

    A block that only one of them has counts as 1.
    """
    means = [_blocks(image) for image in (wanted, found)]
    rows, columns = (max(each.shape[axis] for each in means) for axis in (0, 1))
    common = tuple(slice(min(each.shape[axis] for each in means)) for axis in (0, 1))
    off = np.ones((rows, columns))
    off[common] = np.abs(means[0][common] - means[1][common]).max(axis=-1)
    return off


def _blocks(image: Image.Image) -> NDArray[np.float64]:
    """Mean colours of squares of BLOCK pixels; what is left over at the ends goes."""
    pixels = np.asarray(image, float) / 255
    rows, columns = (length // BLOCK for length in pixels.shape[:2])
    squares = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK, 3)
    return np.asarray(squares.mean(axis=(1, 3)))


def write_side_by_side(path: Path, wanted: Image.Image, found: Image.Image) -> None:
    """Write what was wanted, what was found, and where they differ: white from a quarter on."""
    off = Image.fromarray((255 * np.minimum(4 * differences(wanted, found), 1)).astype(np.uint8))
    off = off.resize((off.width * BLOCK, off.height * BLOCK), Image.Resampling.NEAREST)
    parts = [wanted, found, off.convert("RGB")]
    sheet = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)), "red")
    for i, part in enumerate(parts):
        sheet.paste(part, (sum(each.width for each in parts[:i]), 0))
    sheet.save(path)


def store(path: Path, image: Image.Image) -> None:
    """Write a picture with few colours, which takes a quarter of the bytes."""
    path.parent.mkdir(exist_ok=True)
    image.quantize(COLOURS).save(path, optimize=True)
