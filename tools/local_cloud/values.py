"""Firestore's typed values and the plain ones of Python; fields by path ("inpaint.lease.id"); times."""
import datetime
import re
import time


def to_value(v):
    if v is None:
        return {"nullValue": None}
    if isinstance(v, bool):
        return {"booleanValue": v}
    if isinstance(v, int):
        return {"integerValue": str(v)}
    if isinstance(v, float):
        return {"doubleValue": v}
    if isinstance(v, (list, tuple)):
        return {"arrayValue": {"values": [to_value(x) for x in v]}}
    if isinstance(v, dict):
        return {"mapValue": {"fields": to_fields(v)}}
    return {"stringValue": v}


def from_value(v):
    """Times stay texts, as they are sent."""
    kind, value = next(iter(v.items()))
    if kind == "integerValue":
        return int(value)
    if kind == "doubleValue":
        return float(value)
    if kind == "mapValue":
        return from_fields(value.get("fields", {}))
    if kind == "arrayValue":
        return [from_value(x) for x in value.get("values", [])]
    return value


def to_fields(plain):
    return {name: to_value(v) for name, v in plain.items()}


def from_fields(fields):
    return {name: from_value(v) for name, v in fields.items()}


def names_of(path):
    """The names of a field path; one that is no simple word is in backticks."""
    return [re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            for quoted, plain in re.findall(r"`((?:\\.|[^`\\])+)`|([^.`]+)", path)]


def value_at(fields, path):
    """The value, or {} where there is none."""
    for i, name in enumerate(names_of(path)):
        fields = fields if i == 0 else fields.get("mapValue", {}).get("fields", {})
        fields = fields.get(name, {})
    return fields


def text_at(fields, path):
    return value_at(fields, path).get("stringValue")


def has_path(fields, path):
    return value_at(fields, path) != {}


def set_path(fields, path, value):
    """Sets a field; the value None deletes it."""
    *parents, last = names_of(path)
    for name in parents:
        if "mapValue" not in fields.get(name, {}):
            if value is None:
                return
            fields[name] = {"mapValue": {"fields": {}}}
        fields = fields[name]["mapValue"].setdefault("fields", {})
    if value is None:
        fields.pop(last, None)
    else:
        fields[last] = value


def stamp(us):
    """Microseconds since 1970 as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us // 1000000)) + f".{us % 1000000:06d}Z"


def from_stamp(text):
    """RFC 3339 in UTC -> microseconds since 1970; digits beyond them are cut off. ValueError if it is anything else."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", str(text))
    if not found:
        raise ValueError(f"not a time: {text!r:.100}")
    at = datetime.datetime.fromisoformat(found.group(1) + "+00:00")
    return int(at.timestamp()) * 1000000 + int((found.group(2) or "").ljust(6, "0")[:6])
