"""How settings are read from the environment; which there are is in `tenuto.settings`."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tenuto.errors import SettingsError

__all__ = ["Environment", "mask_url", "variable_of"]

_PREFIX = "TENUTO_"
_ENV_FILE = ".env"
_SECRETS_DIR = "TENUTO_SECRETS_DIR"
_DEFAULT_SECRETS_DIR = Path("/run/secrets")
_TESTS_PREFIX = "TENUTO_TEST_"
"""Variables that tell the project's own test suite where servers are."""

_SERVICE_LINK = re.compile(
    r"TENUTO_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_PROTO|_PORT|_ADDR)?)"
)
"""What Kubernetes puts into every pod's environment for a Service called `tenuto-…`: not settings."""
_SERVICE_LINK_URL = re.compile(r"(?:tcp|udp|sctp)://")

_PASSWORD_IN_AUTHORITY = re.compile(r"(?<=://)([^:/@?]*):.*@")
_PASSWORD_IN_QUERY = re.compile(r"([?&;](?:password|passwd|pwd|sslpassword)=)[^&;]*", re.IGNORECASE)


def mask_url(url: str) -> str:
    """The URL with its password, if it holds one, replaced by asterisks: fit for logs and error messages."""
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD_IN_AUTHORITY.sub(r"\1:***@", url))


class _FileSource(PydanticBaseSettingsSource):
    """Settings whose value is in a file that a variable `TENUTO_<NAME>_FILE` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002  as the base has it
        variable = variable_of(field_name)
        environment = _environment()
        path = environment.get(f"{variable}_FILE")
        if not path:
            return None, field_name, False
        if environment.get(variable):
            raise SettingsError(f"{variable} and {variable}_FILE are both set; remove one of them.")
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"{variable}_FILE names {path}, which cannot be read: {reason}.") from None

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


class Environment(BaseSettings):
    """How settings are read, apart from which there are."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=_ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    def __init__(self, **values: Any) -> None:
        """Read the environment; `values` override it.

        Raises:
            SettingsError: a value is malformed, or a name in `values` or the environment is unknown. The message
                names the variable and never holds a password.
        """
        _refuse_unknown_variables()
        _refuse(values, known=type(self).model_fields, what=f"{type(self).__name__} has no setting {{}}")
        try:
            super().__init__(_secrets_dir=_secrets_dir(), **values)
        except ValidationError as error:
            raise SettingsError(_explanation(error)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls), dotenv_settings, file_secret_settings

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, mask_url(value) if isinstance(value, str) else value


def variable_of(field: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + field.upper()


def _environment() -> Mapping[str, str]:
    """Variable names are matched in any case, as pydantic-settings does it; this has them in upper case."""
    return {name.upper(): value for name, value in os.environ.items()}


def _secrets_dir() -> Path | None:
    chosen = _environment().get(_SECRETS_DIR)
    if not chosen:
        return _DEFAULT_SECRETS_DIR if _DEFAULT_SECRETS_DIR.is_dir() else None
    if not Path(chosen).is_dir():
        raise SettingsError(f"{_SECRETS_DIR} names {chosen}, which is not a directory.")
    return Path(chosen)


def _refuse_unknown_variables() -> None:
    variables = {
        variable_of(name) for settings in _every_class(Environment) for name in settings.model_fields
    }
    known = variables | {f"{name}_FILE" for name in variables} | {_SECRETS_DIR}
    ours = [
        name
        for name, value in _environment().items()
        if name.startswith(_PREFIX) and not _foreign(name, value)
    ]
    _refuse(ours, known=known, what="The environment variable {} is unknown")
    in_file = [name.upper() for name in dotenv_values(_ENV_FILE) if name.upper().startswith(_PREFIX)]
    # In .env the `_FILE` form and the secrets directory are not looked for, so they are unknown there.
    _refuse(in_file, known=variables, what=f"The variable {{}} in {_ENV_FILE} is unknown")


def _foreign(name: str, value: str) -> bool:
    if name.startswith(_TESTS_PREFIX) or _SERVICE_LINK.fullmatch(name):
        return True
    return name.endswith("_PORT") and _SERVICE_LINK_URL.match(value) is not None


def _refuse(names: Iterable[str], *, known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in names:
        if name in known:
            continue
        # Without the prefix, which would make any two of them alike.
        stems = {one.removeprefix(_PREFIX): one for one in known}
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), stems, n=1)
        plain = ", ".join(one for one in known if not one.endswith("_FILE"))
        advice = f"Did you mean {stems[near[0]]}?" if near else f"Known are: {plain}."
        raise SettingsError(f"{what.format(name)}. {advice}")


def _explanation(error: ValidationError) -> str:
    """What is wrong, in one paragraph, without values: those may be secrets."""
    wrong: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(detail["loc"][0]) if detail["loc"] else "settings"
        message = detail["msg"][:1].lower() + detail["msg"][1:]
        wrong.setdefault(variable_of(name), f"{variable_of(name)} (setting {name}): {message}.")
    return " ".join(wrong.values())


def _every_class(base: type[Environment]) -> Iterator[type[Environment]]:
    yield base
    for derived in base.__subclasses__():
        yield from _every_class(derived)
