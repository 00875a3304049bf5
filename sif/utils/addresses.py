"""Addresses of databases and servers, whose passwords no file, log or message ever has.

A configuration keeps an address without its password. The whole one stays in an environment
variable of the process, where a connection finds it, also in a process that this one starts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

from sif.errors import ConfigError
from sif.utils.paths import expanded

FILE_SCHEMES = ("sqlite", "duckdb")
"""Schemes whose address is a file: `sqlite:///orders.db`, with a fourth slash an absolute path."""
_SERVER_SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql"}
EXPECTED = "postgresql://user@host/database, sqlite:///file or duckdb:///file"
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")
_HOST = r"(?:\[[^\]/?#@]*\]|[^/?#@:,\[]*)(?::\d*)?"
_SERVER = re.compile(
    rf"(?P<user>[^/?#@:]*(?::[^/?#@]*)?@)?(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>/[^?#@]*)?"
    r"(?P<query>\?(?:\w+=[^#&]*&?)*)?"
)
_LOOSE = re.compile(r":.*@", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A database.

    Attributes:
        text: Without a password; for messages.
        scheme: "postgresql", "sqlite" or "duckdb".
        path: Name of the database of a server, or the path of a file.

    Examples:
        >>> address = Address.parse("postgresql://ann:secret@db.example.org/shop")
        >>> address.text, address.path
        ('postgresql://ann@db.example.org/shop', 'shop')
    """

    text: str
    scheme: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """The parts of an address.

        Raises:
            ConfigError: Another scheme, no file, or characters that must be written as %XX.
        """
        safe = _without_password(text)
        scheme, _, rest = safe.partition("://")
        scheme = _SERVER_SCHEMES.get(scheme.lower(), scheme.lower())
        if scheme in FILE_SCHEMES:
            path = rest.removeprefix("/")
            if not rest.startswith("/") or not path:
                raise ConfigError(f"{safe}: expected a file, as in {scheme}:///orders.db")
            return cls(f"{scheme}:///{path}", scheme, path)
        if scheme not in _SERVER_SCHEMES.values():
            raise ConfigError(f"dataset: expected a name, a file, {EXPECTED}, found {safe}")
        parts = _SERVER.fullmatch(rest)
        if parts is None:
            raise ConfigError(
                f"{safe}: expected user@host/database, with '@' in a name written as %40 and '#' "
                "as %23"
            )
        return cls(f"{scheme}://{rest}", scheme, unquote((parts["path"] or "/")[1:]))

    @property
    def label(self) -> str:
        """Name of the database, or of the file without its ending."""
        name = Path(self.path).stem if self.scheme in FILE_SCHEMES else self.path
        return name or self.scheme


def is_address(text: str) -> bool:
    """True for "scheme://..."."""
    return _ADDRESS.match(text) is not None


def split_table(text: str) -> tuple[str, str]:
    """An address without its last part, which names a table, and that table.

    Raises:
        ConfigError: There is no such part.

    Examples:
        >>> split_table("sqlite:///lists.db/top10")
        ('sqlite:///lists.db', 'top10')
    """
    scheme, _, rest = text.partition("://")
    place, question, options = rest.partition("?")
    database, _, table = place.rpartition("/")
    if not database.strip("/") or not table or "@" in table:
        example = "postgresql://host/database/table or sqlite:///file.db/table"
        raise ConfigError(f"{text}: expected a table at the end, as in {example}")
    return f"{scheme}://{database}{question}{options}", unquote(table)


def label_of(dataset: str) -> str:
    """A short name of a data set: its name, or that of its database, or of its file."""
    return Address.parse(dataset).label if is_address(dataset) else Path(dataset).stem


def entered(text: str) -> str:
    """An address as configurations keep it: without its password, files by absolute paths.

    `revealed` gives the whole one, here and in processes that this one starts.

    Args:
        text: As somebody wrote it.

    Returns:
        The address; the text as it is where it is none.

    Examples:
        >>> entered("postgresql://ann:secret@db.example.org/shop")
        'postgresql://ann@db.example.org/shop'
        >>> revealed("postgresql://ann@db.example.org/shop")
        'postgresql://ann:secret@db.example.org/shop'
    """
    if not is_address(text):
        return text
    scheme, _, path = text.partition(":///")
    if scheme.lower() in FILE_SCHEMES and path:
        return f"{scheme.lower()}:///{expanded(path).absolute()}"
    safe = _without_password(text)
    if safe != text:
        os.environ[_variable(safe)] = text
    return safe


def revealed(safe: str) -> str:
    """The address with the password that was `entered`, if there was one."""
    return os.environ.get(_variable(safe), safe)


def _without_password(address: str) -> str:
    """An address without its passwords, also where these have characters that must be %XX."""
    scheme, _, rest = address.partition("://")
    parts = _SERVER.fullmatch(rest)
    if parts is None:
        return f"{scheme}://{_LOOSE.sub('@', rest, count=1)}"
    user, options = parts["user"] or "", (parts["query"] or "")[1:].split("&")
    kept = [
        option for option in options
        if option.partition("=")[0].lower() not in ("password", "sslpassword")
    ]  # fmt: skip
    name = user.partition(":")[0] + "@" if ":" in user else user
    query = "?" + "&".join(kept) if any(kept) else ""
    return f"{scheme}://{name}{parts['hosts']}{parts['path'] or ''}{query}"


def _variable(safe: str) -> str:
    return "SIF_ADDRESS_" + sha256(safe.encode()).hexdigest()[:16].upper()
