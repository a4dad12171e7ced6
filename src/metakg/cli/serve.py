"""`metakg serve`: a bundle over HTTP. `metakg keys`: who may come."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metakg.cli.common import JsonOption, print_json

keys = typer.Typer(name="keys", help="Make keys for `metakg serve`.", no_args_is_help=True)


def serve(
    bundle: Annotated[Path, typer.Argument(help="A bundle folder (metakg train).", show_default=False)],
    store: Annotated[
        str | None,
        typer.Option(
            envvar="METAKG_STORE",
            help="Where events are kept: a path (SQLite) or a postgresql:// address; default: store.sqlite beside the bundle.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine's own needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    keys_file: Annotated[Path | None, typer.Option("--keys", help="Key file (metakg keys new).")] = None,
    bundles: Annotated[Path | None, typer.Option(help="Folder that POST /api/admin/swap may take bundles from.")] = None,
    backups: Annotated[Path | None, typer.Option(help="Folder that POST /api/admin/backup writes to.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second of one key in the long run; 0 for no limit.")] = 1000.0,
    burst: Annotated[int, typer.Option(min=1, help="Requests of one key at once.")] = 2000,
    body_bytes: Annotated[int, typer.Option(min=1024, help="Largest body of a request.")] = 1 << 20,
    deadline: Annotated[float, typer.Option(min=0.1, help="Longest time for an answer, in seconds.")] = 5.0,
    threads: Annotated[int, typer.Option(min=1, help="Engine calls at the same time.")] = 1,
    queue: Annotated[int, typer.Option(min=1, help="Engine calls that may wait.")] = 256,
    grace: Annotated[
        int, typer.Option(min=0, help="Longest time for requests that have begun, in seconds; a swap or backup is waited for.")
    ] = 30,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate, PEM.")] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error; info has a line for each request.")] = "info",
) -> None:
    """Serve a bundle: recommend, explain, take feedback. One line of JSON a request goes to stderr.

    METAKG_KEYS may hold keys too, with spaces between; set and empty, with no key file either, it is refused.
    """
    import os

    from metakg.errors import ConfigError, missing_extra

    try:
        from metakg.serve.auth import Keys
        from metakg.serve.limits import Limits
        from metakg.serve.logs import to_stream
        from metakg.serve.server import Settings, run
    except ModuleNotFoundError as err:
        raise missing_extra("metakg serve", "serve", err) from err
    if log_level not in ("debug", "info", "warning", "error"):
        known = "debug, info, warning or error"
        raise ConfigError("--log-level", repr(log_level), expected=known, fix="Name one of them.")
    _check_certificate(certificate, certificate_key)
    settings = Settings(
        bundle=bundle,
        store=store or str(bundle.resolve().parent / "store.sqlite"),
        host=host,
        port=port,
        keys=Keys.load(keys_file, os.environ.get("METAKG_KEYS")),
        limits=Limits(body_bytes=body_bytes, rate=rate, burst=burst, deadline_s=deadline, threads=threads, queue=queue),
        bundles=bundles,
        backups=backups,
        grace_s=grace,
        certificate=certificate,
        certificate_key=certificate_key,
    )
    to_stream(level=log_level)
    run(settings, listening=lambda url: typer.echo(f"metakg serves {bundle} at {url}"))


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Refuse a certificate that cannot be served with before anything listens.

    Raises:
        ConfigError: a file is missing, cannot be read, or does not fit the other.
    """
    import ssl

    from metakg.errors import ConfigError

    if certificate is None:
        if key is not None:
            raise ConfigError("--certificate-key", str(key), expected="--certificate too", fix="Name both, or neither.")
        return
    for option, file in (("--certificate", certificate), ("--certificate-key", key)):
        if file is not None and not file.is_file():
            raise ConfigError(option, f"no file {file}", expected="a PEM file", fix="Check the path.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as err:
        fix = "Check both files; the key may lie in the certificate's file, or in that of --certificate-key."
        raise ConfigError(f"--certificate {certificate}", str(err), expected="a PEM certificate and its key", fix=fix) from err


@keys.command("new")
def new(
    name: Annotated[str, typer.Argument(help="What logs call it.", show_default=False)],
    role: Annotated[str, typer.Option(help="read, write or admin; each may do what those before it may.")] = "read",
    file: Annotated[Path | None, typer.Option(help="Add the line to this key file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. The key is shown once; the line for the key file holds only its digest."""
    import os

    from metakg import files
    from metakg.errors import ConfigError
    from metakg.serve.auth import Keys, new_key

    if role not in ("read", "write", "admin"):
        raise ConfigError("--role", repr(role), expected="read, write or admin", fix="Name one of them.")
    secret, digest = new_key()
    line = f"{role}:{name}:{digest}"
    earlier: list[str] = []
    ends = True
    if file is not None and file.exists():
        with files.writing(file):
            text = file.read_text(encoding="utf-8")
        earlier, ends = text.splitlines(), text.endswith("\n")
    Keys([*earlier, line], where="the key file with the new key")  # refuses a wrong name, and one that is taken
    if file is not None:
        with files.writing(file):
            handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(handle, "a", encoding="utf-8") as out:  # noqa: PTH123 - a descriptor
                out.write(("" if ends or not earlier else "\n") + line + "\n")
    if as_json:
        print_json({"key": secret, "line": line})
        return
    typer.echo(f"key   {secret}\nline  {line}" + (f"   (added to {file})" if file is not None else ""))
