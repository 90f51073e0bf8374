"""A second implementation of docs/output-1.md: spec, lock and files in, image out.

It is written from docs/output-1.md, docs/spec.md and crates/layer/README.md, and shares no line with Cairn. Where the two
differ, one of them or the page is wrong.

Standard library only; compare.py compresses and compares. Not here: `fetch`, archives and registries as a base, secrets, and
the errors of bad input.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import re
import stat
import struct
import tomllib
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Iterator

Table = dict[str, Any]

# ---------------------------------------------------------------- the archive


@dataclass
class Node:
    """What is at one path of a layer. `kind` is the type flag of ustar, or `w` for a whiteout."""

    kind: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    data: bytes = b""
    target: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    inode: tuple[int, int] | None = None


Tree = dict[bytes, Node]


def octal(number: int, digits: int) -> bytes:
    return b"%0*o\0" % (digits, number)


def header(name: bytes, prefix: bytes, node: Node, size: int, flag: bytes, mtime: int) -> bytes:
    """One ustar block. Numbers that do not fit are given as 0 by the caller."""
    parts = [
        name.ljust(100, b"\0"), octal(node.mode, 7), octal(node.uid, 7), octal(node.gid, 7), octal(size, 11),
        octal(mtime, 11), b" " * 8, flag, node.target[:100].ljust(100, b"\0"), b"ustar\0" b"00", bytes(32), bytes(32),
        octal(0, 7), octal(0, 7), prefix.ljust(155, b"\0"), bytes(12),
    ]
    block = b"".join(parts)
    assert len(block) == 512
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length).encode()) + len(rest) != length:
        length = len(str(length).encode()) + len(rest)
    return str(length).encode() + rest


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def is_utf8(text: bytes) -> bool:
    return text.decode("utf-8", "ignore").encode() == text


def divide(name: bytes) -> tuple[bytes, bytes] | None:
    """The prefix and the name, or nothing if ustar cannot hold it."""
    if len(name) <= 100:
        return b"", name
    inner = name[:-1] if name.endswith(b"/") else name
    slash = inner.rfind(b"/", 0, 156)
    if slash < 1 or not 1 <= len(name) - slash - 1 <= 100:
        return None
    return name[:slash], name[slash + 1 :]


def headers(path: bytes, node: Node, mtime: int) -> bytes:
    """All blocks that stand before the content of an entry."""
    if node.kind == "w":
        parent, _, last = path.rpartition(b"/")
        name = (parent + b"/" if parent else b"") + b".wh." + last
        node = Node("0", 0o600)
    else:
        name = path + (b"/" if node.kind == "5" else b"")
    records: dict[bytes, bytes] = {b"SCHILY.xattr." + k.encode(): v for k, v in node.xattrs.items()}
    uid, gid, size = node.uid, node.gid, len(node.data)
    if uid > 0o7777777:
        records[b"uid"], uid = b"%d" % uid, 0
    if gid > 0o7777777:
        records[b"gid"], gid = b"%d" % gid, 0
    if size >= 8 << 30:
        records[b"size"], size = b"%d" % size, 0
    if not is_utf8(name) or not is_utf8(node.target):
        records[b"hdrcharset"] = b"BINARY"
    if len(node.target) > 100 or not is_utf8(node.target):
        records[b"linkpath"] = node.target
    places = divide(name)
    if places is None or not is_utf8(name):
        records[b"path"] = name
    prefix, short = places or (b"", name[:100])
    out = b""
    if records:
        data = b"".join(record(k, records[k]) for k in sorted(records))
        out = header(b"././@PaxHeader", b"", Node("x", 0o644), len(data), b"x", mtime) + padded(data)
    return out + header(short, prefix, replace(node, uid=uid, gid=gid), size, node.kind.encode(), mtime)


def ordered(tree: Tree) -> list[tuple[bytes, Node]]:
    """By the bytes of the path; the whiteouts of a directory stand where its first child would."""

    def place(entry: tuple[bytes, Node]) -> tuple[bytes, bool, bytes]:
        path, node = entry
        if node.kind != "w":
            return path, True, b""
        parent = path.rpartition(b"/")[0]
        return parent + b"/" if parent else b"", False, path

    return sorted(tree.items(), key=place)


# -------------------------------------------------------------- the segments


@dataclass
class Figures:
    piece: int
    least: int
    spread: int
    most: int


FIGURES = {
    "gzip": Figures(524_288, 262_144, 262_144, 1_048_576),
    "zstd": Figures(2_097_152, 1_048_576, 1_048_576, 4_194_304),
}


def archive(tree: Tree, mtime: int, compression: str) -> list[bytes]:
    """The segments of a tree's archive; without compression the archive is one."""
    figures = FIGURES.get(compression)
    done: list[bytes] = []
    segment = bytearray()

    def cut() -> None:
        if segment and figures:
            done.append(bytes(segment))
            segment.clear()

    for path, node in ordered(tree):
        head = headers(path, node, mtime)
        large = figures is not None and len(node.data) >= figures.piece
        body = b"" if large else padded(node.data)
        added = len(head) + len(body)
        if figures and segment:
            h = int.from_bytes(hashlib.sha256(path).digest()[:4], "big")
            by_hash = len(segment) >= figures.least and h * figures.spread < added << 32
            if len(segment) + added > figures.most or by_hash:
                cut()
        segment += head + body
        if large and figures:
            cut()
            for start in range(0, len(node.data), figures.piece):
                cut()
                segment += node.data[start : start + figures.piece]
            segment += bytes(-len(node.data) % 512)
            cut()
    return [*done, bytes(segment) + bytes(1024)]


# ------------------------------------------------------------ what the spec says


def glob(pattern: str, braces: bool) -> re.Pattern[bytes]:
    """A glob over paths. Names are bytes; `?` takes one character."""
    out, i, one = "", 0, "(?:[^/\\x80-\\xff]|[\\xc2-\\xf4][\\x80-\\xbf]+|[\\x80-\\xff])"
    while i < len(pattern):
        c = pattern[i]
        if pattern.startswith("**/", i) and (i == 0 or pattern[i - 1] == "/"):
            out, i = out + "(?:[^/]+/)*", i + 3
            continue
        if pattern[i:] == "**" and (i == 0 or pattern[i - 1] == "/"):
            out, i = out + ".+", i + 2
            continue
        if c == "*":
            out += "[^/]*"
        elif c == "?":
            out += one
        elif c == "[":
            end = pattern.index("]", i + 2)
            inner = pattern[i + 1 : end]
            negated = inner[0] in "!^"
            out += "(?!/)[" + ("^" if negated else "") + inner[negated:].replace("\\", "\\\\") + "]"
            i = end
        elif c == "{" and braces:
            out += "(?:"
        elif c == "," and braces and out.count("(?:") and "}" in pattern[i:]:
            out += "|"
        elif c == "}" and braces:
            out += ")"
        else:
            if c == "\\":
                i, c = i + 1, pattern[i + 1]
            out += "".join(re.escape(chr(b)) for b in c.encode())
        i += 1
    return re.compile(out.encode("latin-1") + rb"\Z", re.DOTALL)


@dataclass
class Pattern:
    regex: re.Pattern[bytes]
    folders_only: bool
    taken_back: bool = False

    def matches(self, path: bytes, is_folder: bool) -> bool:
        return (is_folder or not self.folders_only) and self.regex.match(path) is not None


def exclude_pattern(text: str) -> Pattern:
    return Pattern(glob(text.rstrip("/"), True), text.endswith("/"))


def ignore_patterns(folder: Path) -> list[Pattern]:
    file = folder / ".cairnignore"
    patterns = []
    for line in file.read_text().splitlines() if file.exists() else []:
        line = line.rstrip()
        if not line or line.startswith("#"):
            continue
        back = line.startswith("!")
        line = line[1:] if back else line
        body = line.rstrip("/")
        body = body.lstrip("/") if "/" in body else "**/" + body
        patterns.append(Pattern(glob(body, True), line.endswith("/"), back))
    return patterns


CAPABILITIES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot
sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore""".split()


def xattrs_of(element: Table) -> dict[str, bytes]:
    """`capabilities` as revision 2 of vfs_cap_data: permitted and effective, nothing inheritable."""
    attributes = {name: value.encode() for name, value in element.get("xattrs", {}).items()}
    if names := element.get("capabilities"):
        bits = sum(1 << CAPABILITIES.index(name) for name in names)
        attributes["security.capability"] = struct.pack("<IIIII", 0x02000001, bits & 0xFFFFFFFF, 0, bits >> 32, 0)
    return attributes


class Owners:
    """Names of users and groups: those of the spec and of the base."""

    def __init__(self, spec: Table, passwd: list[str], group: list[str]) -> None:
        self.users: dict[str, tuple[int, int]] = {"root": (0, 0)}
        self.groups: dict[str, int] = {"root": 0}
        for line in group:
            fields = line.split(":")
            self.groups[fields[0]] = int(fields[2])
        for line in passwd:
            fields = line.split(":")
            self.users[fields[0]] = (int(fields[2]), int(fields[3]))
        for group_ in spec.get("group", []):
            self.groups[group_["name"]] = group_["gid"]
        for user in spec.get("user", []):
            self.users[user["name"]] = (user["uid"], user.get("gid", user["uid"]))
            if "gid" not in user:
                self.groups[user["name"]] = user["uid"]

    def resolve(self, text: str | None) -> tuple[int, int]:
        if text is None:
            return 0, 0
        user, _, group = text.partition(":")
        uid, gid = (int(user), int(user)) if user.isdigit() else self.users[user]
        if group:
            gid = int(group) if group.isdigit() else self.groups[group]
        return uid, gid


def key_of(path: str | bytes) -> bytes:
    return (path.encode() if isinstance(path, str) else path).strip(b"/")


def mode_of(element: Table, key: str, default: int) -> int:
    return int(element[key], 8) if key in element else default


class Reader:
    """Makes the tree of one layer of the spec."""

    def __init__(self, folder: Path, platform: str, owners: Owners) -> None:
        self.folder, self.owners = folder, owners
        self.ignored = ignore_patterns(folder)
        system, architecture, variant = (platform.split("/") + [""])[:3]
        self.places = {"{os}": system, "{arch}": architecture, "{variant}": variant}

    def filled(self, text: str) -> str:
        for place, value in self.places.items():
            text = text.replace(place, value)
        return text

    def tree(self, layer: Table) -> Tree:
        tree: Tree = {}
        for element in layer.get("dir", []):
            uid, gid = self.owners.resolve(element.get("owner"))
            tree[key_of(element["to"])] = Node("5", mode_of(element, "mode", 0o755), uid, gid)
        for element in layer.get("write", []):
            uid, gid = self.owners.resolve(element.get("owner"))
            mode, data = mode_of(element, "mode", 0o644), element["text"].encode()
            tree[key_of(element["to"])] = Node("0", mode, uid, gid, data, xattrs=xattrs_of(element))
        for element in layer.get("link", []):
            tree[key_of(element["from"])] = Node("2", 0o777, target=element["to"].encode())
        for path in layer.get("remove", []):
            tree[key_of(path)] = Node("w")
        for element in layer.get("copy", []):
            self.copy(tree, element)
        if layer.get("hardlinks"):
            link_files(tree)
        return tree

    def copy(self, tree: Tree, element: Table) -> None:
        source, to = self.filled(element["from"]), key_of(element["to"])
        excluded = [exclude_pattern(p) for p in element.get("exclude", [])]
        parts = source.rstrip("/").split("/")
        wild = next((i for i, p in enumerate(parts) if re.search(r"(?<!\\)[*?\[]", p)), None)
        root = "/".join(parts[:wild] if wild is not None else parts)
        root_bytes = os.fsencode(re.sub(r"\\(.)", r"\1", root) if wild is not None else root)
        top = os.path.join(os.fsencode(self.folder), root_bytes)
        if wild is not None:
            pattern = glob("/".join(parts[wild:]), False)
            taken: list[bytes] = []
            for path, is_folder in self.walk(top, root_bytes, excluded):
                below = any(path.startswith(t + b"/") for t in taken)
                if not below and pattern.match(path) and (is_folder or not source.endswith("/")):
                    taken.append(path)
                    below = True
                if below:
                    tree[join(to, path)] = self.node(os.path.join(top, path), element)
            return
        is_folder = os.path.isdir(top) and (source.endswith("/") or not os.path.islink(top))
        place = to
        if not source.endswith("/") and element["to"].endswith("/"):
            place = join(to, os.path.basename(top))
        if not is_folder:
            tree[place] = self.node(top, element)
            return
        if not source.endswith("/"):
            tree[place] = self.node(top, element)
        for path, _ in self.walk(top, root_bytes, excluded):
            tree[join(place, path)] = self.node(os.path.join(top, path), element)

    def walk(self, top: bytes, root: bytes, excluded: list[Pattern], below: bytes = b"") -> Iterator[tuple[bytes, bool]]:
        """All paths below `top`, by bytes, without what is excluded or ignored."""
        for name in sorted(os.listdir(os.path.join(top, below))):
            path = join(below, name)
            full = os.path.join(top, path)
            is_folder = os.path.isdir(full) and not os.path.islink(full)
            if any(p.matches(path, is_folder) for p in excluded):
                continue
            verdicts = [p for p in self.ignored if p.matches(join(root.strip(b"./"), path), is_folder)]
            if verdicts and not verdicts[-1].taken_back:
                continue
            yield path, is_folder
            if is_folder:
                yield from self.walk(top, root, excluded, path)

    def node(self, path: bytes, element: Table) -> Node:
        uid, gid = self.owners.resolve(element.get("owner"))
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return Node("2", 0o777, uid, gid, target=os.readlink(path))
        if stat.S_ISDIR(found.st_mode):
            return Node("5", mode_of(element, "dir-mode", 0o755), uid, gid)
        mode = mode_of(element, "mode", 0o755 if found.st_mode & 0o100 else 0o644)
        with open(path, "rb") as file:
            data = file.read()
        return Node("0", mode, uid, gid, data, b"", xattrs_of(element), (found.st_dev, found.st_ino))


def join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name


def link_files(tree: Tree) -> None:
    """Files with one inode and the same attributes become hard links to the first of them by path."""
    first: dict[tuple[Any, ...], bytes] = {}
    for path in sorted(tree):
        node = tree[path]
        if node.kind != "0" or node.inode is None:
            continue
        same = (node.inode, node.mode, node.uid, node.gid, tuple(sorted(node.xattrs.items())))
        if same in first:
            tree[path] = replace(node, kind="1", data=b"", target=first[same])
        else:
            first[same] = path


# ------------------------------------------------------------------ layers


Listing = dict[bytes, tuple[int, int, int]]


def with_parents(tree: Tree, below: Listing) -> Tree:
    full = dict(tree)
    for path in tree:
        while path := path.rpartition(b"/")[0]:
            if path not in full:
                mode, uid, gid = below.get(path, (0o755, 0, 0))
                full[path] = Node("5", mode, uid, gid)
    return full


def note(tree: Tree, below: Listing) -> None:
    """What the layers above see of this one."""
    for path, node in tree.items():
        if node.kind != "5":
            for known in [k for k in below if k == path or k.startswith(path + b"/")]:
                del below[known]
    for path, node in tree.items():
        if node.kind == "5":
            below[path] = (node.mode, node.uid, node.gid)


def parts_of(named: Tree, full: Tree, borders: list[bytes]) -> list[Tree]:
    """A split layer: `full` has the parents that `named` leaves out."""
    parts: list[Tree] = [{} for _ in range(len(borders) + 1)]
    for path, node in named.items():
        decides = node.target if node.kind == "1" else path
        part = parts[sum(border <= decides for border in borders)]
        part[path] = node
        while path := path.rpartition(b"/")[0]:
            part[path] = full[path]
    return [part for part in parts if part] or [{}]


def users_layer(spec: Table, passwd: list[str], group: list[str]) -> Tree:
    passwd = list(passwd)
    lines = [line.split(":") for line in group]
    if not any(line.split(":")[0] == "root" for line in passwd):
        passwd.insert(0, "root:x:0:0:root:/root:/sbin/nologin")
    if not any(line[0] == "root" for line in lines):
        lines.insert(0, ["root", "x", "0", ""])
    for user in spec.get("user", []):
        name, uid = user["name"], user["uid"]
        gid = user.get("gid", uid)
        passwd.append(f"{name}:x:{uid}:{gid}::{user.get('home', '/')}:{user.get('shell', '/sbin/nologin')}")
    members: dict[str, list[str]] = {}
    for user in spec.get("user", []):
        for wanted in user.get("groups", []):
            members.setdefault(wanted, []).append(user["name"])
    for added in spec.get("group", []):
        lines.append([added["name"], "x", str(added["gid"]), ""])
        members.setdefault(added["name"], []).extend(added.get("members", []))
    lines += [[user["name"], "x", str(user["uid"]), ""] for user in spec.get("user", []) if "gid" not in user]
    for line in lines:
        there = line[3].split(",") if line[3] else []
        line[3] = ",".join(dict.fromkeys(there + members.get(line[0], [])))
    texts = {b"etc/passwd": passwd, b"etc/group": [":".join(line) for line in lines]}
    return {path: Node("0", 0o644, data="".join(f"{t}\n" for t in text).encode()) for path, text in texts.items()}


@dataclass
class Layer:
    """A layer of ours: its segments, or of the base: its descriptor."""

    name: str
    compression: str = "none"
    segments: list[bytes] = field(default_factory=list)
    descriptor: Table | None = None
    diff_id: str = ""


# ------------------------------------------------------------------- JSON


def canonical(value: Any) -> bytes:
    """RFC 8785, for what has integers only."""

    def in_order(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: in_order(value[k]) for k in sorted(value, key=lambda k: k.encode("utf-16-be"))}
        return [in_order(v) for v in value] if isinstance(value, list) else value

    return json.dumps(in_order(value), ensure_ascii=False, separators=(",", ":")).encode()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MEDIA_TYPES = {
    DOCKER + "image.rootfs.diff.tar.gzip": OCI + "layer.v1.tar+gzip",
    DOCKER + "image.rootfs.diff.tar": OCI + "layer.v1.tar",
}
LAYER_TYPES = {c: OCI + "layer.v1.tar" + s for c, s in {"gzip": "+gzip", "zstd": "+zstd", "none": ""}.items()}


def port(value: int | str) -> str:
    text = str(value)
    return text if "/" in text else text + "/tcp"


def nanoseconds(text: str) -> int:
    units = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|s|m|h)", text))


def healthcheck(spec: Table) -> Table:
    if spec["test"] == "NONE":
        return {"Test": ["NONE"]}
    out: Table = {"Test": ["CMD", *spec["test"]]}
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval"}
    out |= {name: nanoseconds(spec[key]) for key, name in names.items() if key in spec}
    return out | ({"Retries": spec["retries"]} if "retries" in spec else {})


PLAIN = {"entrypoint": "Entrypoint", "cmd": "Cmd", "workdir": "WorkingDir", "user": "User", "stop-signal": "StopSignal"}


def run_config(spec: Table, base: Table, inherit: list[str]) -> Table:
    """The `config` of the configuration: the spec's values, upon what is inherited."""
    out: Table = {name: base[name] for key, name in PLAIN.items() if key in inherit and name in base}
    out |= {name: spec[key] for key, name in PLAIN.items() if key in spec}
    mine = dict(spec.get("env", {}))
    variables = []
    for text in base.get("Env") or [] if "env" in inherit else []:
        name = text.partition("=")[0]
        variables.append(f"{name}={mine.pop(name)}" if name in mine else text)
    out["Env"] = variables + [f"{name}={mine[name]}" for name in sorted(mine, key=str.encode)]
    out["ExposedPorts"] = {port(p): {} for p in spec.get("expose", [])}
    out["Volumes"] = {v: {} for v in spec.get("volumes", [])}
    out["Labels"] = dict(spec.get("labels", {}))
    for key, name in {"expose": "ExposedPorts", "volumes": "Volumes", "labels": "Labels"}.items():
        if key in inherit:
            out[name] = (base.get(name) or {}) | out[name]
    if "healthcheck" in spec:
        out["Healthcheck"] = healthcheck(spec["healthcheck"])
    elif "healthcheck" in inherit and "Healthcheck" in base:
        out["Healthcheck"] = base["Healthcheck"]
    return {name: value for name, value in out.items() if value not in ({}, [], "")}


# ------------------------------------------------------------------- images


@dataclass
class Image:
    platform: str
    layers: list[Layer]
    config: Table
    manifest: Table  # without `layers`, whose digests depend on the compressor


def rows(lock: Table, platform: str) -> Table:
    for row in lock.get("base", {}).get("platform", []):
        if row["platform"] == platform:
            return row
    return {}


def blob(layout: Path, name: str) -> bytes:
    data = (layout / "blobs" / name.replace(":", "/")).read_bytes()
    assert digest(data) == name
    return data


def cut_every(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


class Build:
    """One spec and its lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: Table = tomllib.loads((folder / "cairn.toml").read_text())
        self.lock: Table = tomllib.loads((folder / "cairn.lock").read_text())
        assert self.lock["output"] == 1
        image = self.spec["image"]
        named = image.get("created", "inputs")
        self.mtime = 1
        if named != "inputs":
            date = named if isinstance(named, datetime) else datetime.fromisoformat(named)
            self.mtime = int(date.timestamp())
        self.compression: str = image.get("compression", "gzip")

    def base_layers(self, row: Table, platform: str) -> tuple[list[Layer], Table]:
        """The layers of the base and its configuration."""
        base = self.spec.get("base", {})
        if "rootfs" in base:
            name = Reader(self.folder, platform, Owners({}, [], [])).filled(base["rootfs"])
            return [root_file_system((self.folder / name).read_bytes(), row)], {}
        if "oci" in base:
            layout = self.folder / base["oci"].partition(":")[0]
            manifest = json.loads(blob(layout, row["manifest"]))
            config = json.loads(blob(layout, manifest["config"]["digest"]))
            layers = []
            for found, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
                descriptor = {k: found[k] for k in ("digest", "size")}
                descriptor["mediaType"] = MEDIA_TYPES.get(found["mediaType"], found["mediaType"])
                layers.append(Layer("base", descriptor=descriptor, diff_id=diff_id))
            return layers, config
        assert not base, "this base is not here"
        return [], {}

    def image(self, platform: str) -> Image:
        row = rows(self.lock, platform)
        passwd, group = row.get("users", []), row.get("groups", [])
        below: Listing = {}
        for found in row.get("directories", []):
            uid, gid = found["owner"].split(":")
            below[key_of(found["path"])] = (int(found["mode"], 8), int(uid), int(gid))
        layers, base = self.base_layers(row, platform)
        base_count = len(layers)
        if self.spec.get("user") or self.spec.get("group"):
            self.add(layers, "users", users_layer(self.spec, passwd, group), below, self.compression)
        reader = Reader(self.folder, platform, Owners(self.spec, passwd, group))
        for layer in self.spec.get("layer", []):
            compression = layer.get("compression", self.compression)
            self.add(layers, layer["name"], reader.tree(layer), below, compression)
        return Image(platform, layers, self.config(platform, base, layers, base_count), self.manifest(row))

    def add(self, layers: list[Layer], name: str, tree: Tree, below: Listing, compression: str) -> None:
        borders = [b for s in self.lock.get("split", []) if s["layer"] == name for b in s["borders"]]
        full = with_parents(tree, below)
        trees = parts_of(tree, full, [key_of(b) for b in borders]) if borders else [full]
        for number, part in enumerate(trees, 1):
            title = f"{name} {number}/{len(trees)}" if len(trees) > 1 else name
            segments = archive(part, self.mtime, compression)
            layers.append(Layer(title, compression, segments, diff_id=digest(b"".join(segments))))
        note(full, below)

    def config(self, platform: str, base: Table, layers: list[Layer], base_count: int) -> Table:
        created = self.lock["created"]
        system, architecture, variant = (platform.split("/") + [""])[:3]
        history = base.get("history") or []
        if sum(not h.get("empty_layer", False) for h in history) != base_count:
            history = [{"created_by": "base"} for _ in range(base_count)]
        ours = [{"created": created, "created_by": f"cairn: layer {layer.name}"} for layer in layers[base_count:]]
        config: Table = {
            "created": created, "architecture": architecture, "os": system, "history": history + ours,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        run = run_config(
            self.spec.get("config", {}), base.get("config") or {},
            self.spec.get("base", {}).get("inherit", ["env", "workdir"]),
        )
        config |= {"variant": variant} if variant else {}
        config |= {key: base[key] for key in ("os.version", "os.features") if base.get(key)}
        config |= {"config": run} if run else {}
        return {key: value for key, value in config.items() if value != []}

    def manifest(self, row: Table) -> Table:
        annotations = dict(self.spec.get("config", {}).get("annotations", {}))
        base = self.spec.get("base", {})
        for kind in ("image", "oci", "archive"):
            if kind in base:
                names = {"name": base[kind], "digest": self.lock["base"].get("index", row.get("manifest"))}
                annotations = {f"org.opencontainers.image.base.{k}": v for k, v in names.items()} | annotations
        out: Table = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json"}
        return out | ({"annotations": annotations} if annotations else {})


def root_file_system(data: bytes, row: Table) -> Layer:
    """A root file system is the layer as it is; xz and bzip2 are compressed anew."""
    unpackers: dict[bytes, Callable[[bytes], bytes]] = {b"\xfd7zXZ": lzma.decompress, b"BZh": bz2.decompress}
    for magic, unpack in unpackers.items():
        if data.startswith(magic):
            plain = unpack(data)
            return Layer("base", "gzip", cut_every(plain, FIGURES["gzip"].piece), diff_id=digest(plain))
    if data.startswith(b"\x1f\x8b"):
        kind, diff_id = "gzip", digest(gzip.decompress(data))
    elif data.startswith(bytes.fromhex("28b52ffd")):
        kind, diff_id = "zstd", row["layers"][0]["diff-id"]  # the standard library has no zstd
    else:
        kind, diff_id = "none", digest(data)
    descriptor = {"mediaType": LAYER_TYPES[kind], "digest": digest(data), "size": len(data)}
    return Layer("base", descriptor=descriptor, diff_id=diff_id)
