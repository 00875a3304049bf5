"""The page at /docs: every endpoint with its fields, without a request to anywhere else."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape


def page(described: dict[str, Any]) -> str:
    """The page of an OpenAPI document.

    Args:
        described: The document, with the schemas of its bodies.
    """
    environment = Environment(
        loader=PackageLoader("sif.serving"), autoescape=select_autoescape(), trim_blocks=True
    )
    schemas = described["components"]["schemas"]
    endpoints = [
        {
            "method": method.upper(),
            "path": path,
            "text": operation.get("description", ""),
            "parameters": [
                _row(one["name"], one["schema"], False) for one in operation.get("parameters", [])
            ],
            "bodies": _bodies(operation, schemas),
            "types": list(operation.get("requestBody", {}).get("content", {})),
        }
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]
    return environment.get_template("docs.html").render(about=described["info"], all=endpoints)


def _bodies(operation: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """The body of an operation, then what it holds, each with its fields."""
    content = operation.get("requestBody", {}).get("content", {})
    names = [_name(one["schema"]) for one in content.values()]
    names = [name for name in names if name]
    for name in names:  # grows on the way
        for field in schemas[name]["properties"].values():
            names += [one for one in _inner(field) if one not in names]
    return [
        {
            "name": name,
            "fields": [
                _row(field, schema, field in schemas[name].get("required", ()))
                for field, schema in schemas[name]["properties"].items()
            ],
        }
        for name in names
    ]


def _row(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    default = schema.get("default")
    return {
        "name": name,
        "type": _type(schema),
        "text": schema.get("description", ""),
        "default": "required" if required else "" if default is None else default,
    }


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _inner(schema: dict[str, Any]) -> list[str]:
    """Names of the schemas that a field holds."""
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), schema.get("items", {})]
    inner = [name for part in parts if part for name in _inner(part)]
    return [_name(schema), *inner] if "$ref" in schema else inner


def _type(schema: dict[str, Any]) -> str:
    """The type of a field in words; texts of ids and numbers that may stand for them are one."""
    if "$ref" in schema:
        return _name(schema)
    if "const" in schema:
        return repr(schema["const"])
    several = schema.get("anyOf", schema.get("oneOf"))
    if several is not None:
        kinds = [_type(one) for one in several if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_type(schema.get('additionalProperties', {}))}"
    return {"string": "text"}.get(schema.get("type", ""), str(schema.get("type", "")))
