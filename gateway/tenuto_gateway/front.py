"""The HTTP gateway, where what it needs is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenuto.client import Client
from tenuto.errors import SettingsError
from tenuto.settings import GatewaySettings

if TYPE_CHECKING:
    from tenuto_gateway.http.server import Gateway

__all__ = ["gateway_of"]


def gateway_of(client: Client, settings: GatewaySettings, *, any_port: bool = False) -> Gateway:
    """The service that serves a client over HTTP; see `Gateway`.

    Raises:
        SettingsError: what it needs is not installed, or the settings will not do.
    """
    try:
        from tenuto_gateway.http.server import Gateway  # noqa: PLC0415  needs an extra
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'the gateway needs {error.name}, which is not installed; run: pip install "tenuto[gateway]"'
        ) from error
    return Gateway(client, settings, any_port=any_port)
