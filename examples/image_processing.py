"""Image processing: every picture of a folder is classified, made a thumbnail of, and filed. Needs Pillow.

    pip install pillow
    tenuto run examples/image_processing.py process_folder --input '{"folder": "pictures", "store": "gallery"}'

One child workflow per picture, a few at a time. Payloads are paths and facts, never pixels: the activities read and
write the files, so in production the pool `images` runs where the files are (or takes them from an object store). Each
writes to a name that follows from its input, and moves it there whole, so that making an attempt again changes nothing.
A file that is no picture is reported, and holds nobody up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tenuto import App, ChildWorkflowError, NonRetryableError, RetryPolicy, WorkflowContext

app = App("images", retry=RetryPolicy(max_attempts=3, first_interval=0.5))

AT_A_TIME = 4
THUMBNAIL = (128, 128)
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Job:
    folder: str
    store: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    path: str
    store: str


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a look at a picture tells."""

    shape: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Filed:
    source: str
    thumbnail: str
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Gallery:
    filed: list[Filed]
    unreadable: list[str]


class NoPictureError(NonRetryableError):
    """The file cannot be read as a picture; trying again will not help."""


@app.activity(pool="images")
def find_pictures(job: Job) -> list[str]:
    """Sorted, so that the order is the same whatever the file system gives."""
    return sorted(str(path) for path in Path(job.folder).iterdir() if path.suffix.lower() in SUFFIXES)


@app.activity(pool="images")
def classify(picture: Picture) -> Kind:
    with opened(picture.path) as image:
        width, height = image.size
        red, green, blue = image.convert("RGB").resize((1, 1)).tobytes()
    shape = "square" if width == height else "landscape" if width > height else "portrait"
    colour = max((red, "red"), (green, "green"), (blue, "blue"))[1]
    return Kind(shape=shape, colour=colour)


@app.activity(pool="images")
def make_thumbnail(picture: Picture) -> str:
    target = Path(picture.store) / "thumbnails" / f"{Path(picture.path).stem}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened(picture.path) as image:
        image.thumbnail(THUMBNAIL)
        half_done = target.with_suffix(".part")
        image.save(half_done, format="PNG")
    half_done.replace(target)
    return str(target)


def opened(path: str) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise NoPictureError(f"{path} is no picture") from error


@app.workflow
async def process_picture(ctx: WorkflowContext, picture: Picture) -> Filed:
    kind = ctx.call_activity(classify, picture)
    thumbnail = ctx.call_activity(make_thumbnail, picture)
    return Filed(source=picture.path, thumbnail=await thumbnail, kind=await kind)


@app.workflow
async def process_folder(ctx: WorkflowContext, job: Job) -> Gallery:
    filed: list[Filed] = []
    unreadable: list[str] = []
    paths = await ctx.call_activity(find_pictures, job)
    for group in groups(paths):
        ctx.set_custom_status({"done": len(filed) + len(unreadable), "of": len(paths)})
        pictures = [Picture(path=path, store=job.store) for path in group]
        tasks = [ctx.call_child_workflow(process_picture, picture) for picture in pictures]
        for path, task in zip(group, tasks, strict=True):
            try:
                filed.append(await task)
            except ChildWorkflowError:
                unreadable.append(path)
    return Gallery(filed=filed, unreadable=unreadable)


def groups(paths: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(paths), AT_A_TIME):
        yield paths[start : start + AT_A_TIME]
