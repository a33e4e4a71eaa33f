"""Firestore's typed values and the plain ones of Python; fields by path ("inpaint.lease.id"); times."""
import base64
import datetime
import math
import re
import time

DEPTH_MAX = 20  # maps and arrays in one another
NAME = r"(?:[A-Za-z_][A-Za-z_0-9]*|`(?:\\[`\\]|[^`\\])+`)"
PATH = re.compile(rf"{NAME}(?:\.{NAME})*")


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
        return float(value) if math.isfinite(float(value)) else value  # JSON has no number for "NaN" and the infinities
    if kind == "mapValue":
        return from_fields(value.get("fields", {}))
    if kind == "arrayValue":
        return [from_value(x) for x in value.get("values", [])]
    return value


def to_fields(plain):
    return {name: to_value(v) for name, v in plain.items()}


def from_fields(fields):
    return {name: from_value(v) for name, v in fields.items()}


# ---- what Firestore accepts ----

def is_integer(v):
    number = int(v) if isinstance(v, str) and re.fullmatch(r"-?\d{1,19}", v) else v
    return isinstance(number, int) and not isinstance(number, bool) and -1 << 63 <= number < 1 << 63


def is_double(v):
    return isinstance(v, (int, float, str)) and not isinstance(v, bool) and float(v) is not None


SCALARS = {  # kind -> whether it may have this content; ValueError means no, too
    "nullValue": lambda v: v is None,
    "booleanValue": lambda v: isinstance(v, bool),
    "integerValue": is_integer,
    "doubleValue": is_double,
    "timestampValue": lambda v: from_stamp(v) is not None,
    "stringValue": lambda v: isinstance(v, str),
    "bytesValue": lambda v: base64.b64decode(v, validate=True) is not None,
    "referenceValue": lambda v: isinstance(v, str),
    "geoPointValue": lambda v: isinstance(v, dict),
}


def accepted(value, depth=0):
    """-> the value as Firestore keeps it: an integer as text, a time in UTC to the microsecond. ValueError if it is none."""
    if not isinstance(value, dict) or len(value) != 1 or depth > DEPTH_MAX:
        raise ValueError(f"not one value, or more than {DEPTH_MAX} in one another: {value!r:.100}")
    kind, v = next(iter(value.items()))
    if kind == "mapValue":
        return {kind: {"fields": accepted_fields(v.get("fields", {}), depth + 1)}}
    if kind == "arrayValue":
        values = v.get("values", [])
        if any("arrayValue" in item for item in values):
            raise ValueError("an array directly in an array")
        return {kind: {"values": [accepted(item, depth + 1) for item in values]}}
    if kind not in SCALARS or not SCALARS[kind](v):
        raise ValueError(f"not a value: {value!r:.100}")
    return {kind: str(v) if kind == "integerValue" else stamp(from_stamp(v)) if kind == "timestampValue" else v}


def accepted_fields(fields, depth=0):
    return {name: accepted(v, depth) for name, v in fields.items()}


# ---- fields by path ----

def names_of(path):
    """The names of a field path; one that is no simple word is in backticks. ValueError if it is no path."""
    if not PATH.fullmatch(path):
        raise ValueError(f"not a field path: {path:.100}")
    return [re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith("`") else name for name in re.findall(NAME, path)]


def is_part_of(path, other):
    """Whether a path leads to the same field as the other, or into it."""
    names = names_of(other)
    return names_of(path)[:len(names)] == names


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


# ---- times ----

def stamp(us):
    """Microseconds since 1970 as RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us // 1000000)) + f".{us % 1000000:06d}Z"


def from_stamp(text):
    """RFC 3339 -> microseconds since 1970; digits beyond them are cut off. ValueError if it is anything else."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", str(text))
    if not found:
        raise ValueError(f"not a time: {text!r:.100}")
    seconds, fraction, zone = found.groups()
    at = datetime.datetime.fromisoformat(seconds + zone.replace("Z", "+00:00"))
    return int(at.timestamp()) * 1000000 + int((fraction or "").ljust(6, "0")[:6])
