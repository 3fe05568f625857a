"""Loading a user's app from the target that a command names: `module:app` or `file.py[:app]`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tenuto.app import App
from tenuto.errors import TargetError

__all__ = ["load_target"]


def load_target(target: str) -> App:
    """The app that `target` names.

    The present folder comes first on `sys.path`, and for a file its own folder too, so that what lies beside
    the target can be imported. Without `:app` the module must hold exactly one app.

    Raises:
        TargetError: there is no such file, module or app, or the module fails while it is imported; the
        message
            then names the line. The cause is the module's own exception.
    """
    location, attribute = _split(target)
    _prefer(Path.cwd())
    module = _load_file(Path(location)) if _is_file(location) else _load_module(location)
    return _named_app(module, attribute, target) if attribute else _only_app(module, target)


def _split(target: str) -> tuple[str, str]:
    if not target or target.startswith(":"):
        raise TargetError(f"the target {target!r} names nothing; write `module:app` or `file.py:app`")
    if target.endswith(".py") or ":" not in target:
        return target, ""
    location, _, attribute = target.rpartition(":")
    return location, attribute


def _is_file(location: str) -> bool:
    return location.endswith(".py") or "/" in location or "\\" in location


def _prefer(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _load_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise TargetError(f"there is no file {path}; the target is `module:app` or `file.py[:app]`")
    _prefer(path.parent)
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        raise TargetError(
            f"{path} would be imported as {name!r}, which is another module's name; rename the file"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is not Python source; the target is `module:app` or `file.py[:app]`")
    module = importlib.util.module_from_spec(spec)
    # Before it is executed: dataclasses and type hints look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(str(path), error) from error
    return module


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(
                f"there is no module {error.name!r} here or among the installed packages; run the command "
                "from the folder that holds it, or name the file: `path/to/file.py:app`"
            ) from error
        raise _failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _failed(what: str, error: BaseException) -> TargetError:
    return TargetError(f"{what} cannot be imported: {type(error).__name__}: {error} ({_place(error)})")


def _place(error: BaseException) -> str:
    """The file and line to look at: the deepest one that is the user's own, else the deepest one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and frame.filename != __file__
    ]
    own = [frame for frame in frames if not _is_library(frame.filename)]
    deepest = (own or frames)[-1:]
    return f"{deepest[0].filename}, line {deepest[0].lineno}" if deepest else "before its first line"


def _is_library(filename: str) -> bool:
    return "site-packages" in filename or filename.startswith(str(Path(traceback.__file__).parent))


def _named_app(module: ModuleType, attribute: str, target: str) -> App:
    found: object = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            hint = _choice(module)
            raise TargetError(f"{target}: {module.__name__!r} has no {attribute!r}; {hint}") from None
    if not isinstance(found, App):
        hint = _choice(module)
        raise TargetError(f"{target} is a {type(found).__name__}, not a tenuto.App; {hint}")
    return found


def _only_app(module: ModuleType, target: str) -> App:
    apps = _apps(module)
    if len(set(map(id, apps.values()))) != 1:
        raise TargetError(f"{target}: {_choice(module)}")
    return next(iter(apps.values()))


def _choice(module: ModuleType) -> str:
    names = sorted(_apps(module))
    if not names:
        return f'there is no app in {module.__name__!r}; make one: `app = tenuto.App("name")`'
    return f"the apps in {module.__name__!r} are: {', '.join(names)}; name one after a colon"


def _apps(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}
