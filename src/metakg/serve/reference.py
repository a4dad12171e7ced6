"""The routes as a page for people: plain HTML from the OpenAPI description, no script, nothing from elsewhere."""

from __future__ import annotations

import json
from html import escape
from typing import Any


def page(schema: dict[str, Any]) -> str:
    """Return the page."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{escape(schema['info']['title'])}: the interface</title></head><body>",
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>",
        f"<p>{escape(schema['info']['description'])}</p>",
        "<p>For machines: <a href='openapi.json'>openapi.json</a></p>",
    ]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts += _route(path, method, route)
    return "".join([*parts, "</body></html>"])


def _route(path: str, method: str, route: dict[str, Any]) -> list[str]:
    parts = [
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>",
        f"<p><strong>{escape(route['summary'])}.</strong> {escape(route.get('description', ''))}</p>",
        f"<p>Key: {escape(route['x-role'])}.</p>",
    ]
    parameters = [p for p in route.get("parameters", ()) if p["in"] != "path"]
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
            f"<td><code>{escape(json.dumps(p['schema'].get('default')))}</code></td>"
            f"<td>{escape(p['schema'].get('description', p.get('description', '')))}</td></tr>"
            for p in parameters
        )
        parts.append(f"<table><tr><th>name</th><th>in</th><th>default</th><th>meaning</th></tr>{rows}</table>")
    sent = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    if sent is not None:
        parts.append(f"<p>Send</p><pre>{escape(json.dumps(sent, indent=1, ensure_ascii=False))}</pre>")
    shown = route["responses"]["200"].get("content", {}).get("application/json", {}).get("example")
    if shown is not None:
        text = shown if isinstance(shown, str) else json.dumps(shown, indent=1, ensure_ascii=False)
        parts.append(f"<p>Answer</p><pre>{escape(text)}</pre>")
    return parts
