#!/usr/bin/env python3
"""Compares an image of an OCI layout with what cairn_output_1.py makes of the same spec, lock and files.

    compare.py DIR LAYOUT    DIR has the spec and the lock; says every difference, and ends with 1 if there is one

Compressed bytes are compared if CAIRN_OUTPUT_LIBS names a directory with libdeflate.so (1.26) and libzstd.so (1.5.7); else what
is in the layers, where they are cut, and everything that does not come from compressed bytes.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from cairn_output_1 import LAYER_TYPES, OCI, Build, Image, Layer, Table, blob, canonical, digest


PLATFORM = ("os", "architecture", "variant", "os.version", "os.features")


def name_of(platform: Table) -> str:
    return "/".join(platform[key] for key in PLATFORM[:3] if key in platform)


class Libraries:
    """libdeflate and libzstd, if CAIRN_OUTPUT_LIBS names where they are."""

    def __init__(self, folder: str | None) -> None:
        self.found = folder is not None
        if folder is None:
            return
        self.deflate = ctypes.CDLL(f"{folder}/libdeflate.so")
        self.zstd = ctypes.CDLL(f"{folder}/libzstd.so")
        for name in ("libdeflate_alloc_compressor", "libdeflate_deflate_compress", "libdeflate_deflate_compress_bound"):
            getattr(self.deflate, name).restype = ctypes.c_size_t
        for name in ("ZSTD_compress", "ZSTD_compressBound"):
            getattr(self.zstd, name).restype = ctypes.c_size_t

    def compress(self, segment: bytes, compression: str) -> bytes:
        size = ctypes.c_size_t(len(segment))
        if compression == "zstd":
            room = self.zstd.ZSTD_compressBound(size)
            out = ctypes.create_string_buffer(room)
            length = self.zstd.ZSTD_compress(out, ctypes.c_size_t(room), segment, size, 3)
            return out.raw[:length]
        compressor = ctypes.c_void_p(self.deflate.libdeflate_alloc_compressor(3))
        room = self.deflate.libdeflate_deflate_compress_bound(compressor, size)
        out = ctypes.create_string_buffer(room)
        length = self.deflate.libdeflate_deflate_compress(compressor, segment, size, out, ctypes.c_size_t(room))
        self.deflate.libdeflate_free_compressor(compressor)
        trailer = struct.pack("<II", zlib.crc32(segment), len(segment) & 0xFFFFFFFF)
        return bytes.fromhex("1f8b08000000000000ff") + out.raw[:length] + trailer


def gzip_members(blob: bytes) -> list[bytes]:
    members = []
    while blob:
        reader = zlib.decompressobj(wbits=31)
        assert blob[:10] == bytes.fromhex("1f8b08000000000000ff"), "the header of a gzip member"
        members.append(reader.decompress(blob))
        assert reader.eof
        blob = reader.unused_data
    return members


def zstd_lengths(blob: bytes) -> list[int]:
    """The content sizes of the frames (RFC 8878), found without decompressing anything."""
    lengths, at = [], 0
    while at < len(blob):
        assert blob[at : at + 4] == bytes.fromhex("28b52ffd"), "the magic of a zstd frame"
        descriptor = blob[at + 4]
        single, checksum, dictionary = descriptor >> 5 & 1, descriptor >> 2 & 1, descriptor & 3
        assert not checksum and not dictionary, "no checksum, no dictionary"
        at += 5 + (1 - single)
        width = (single, 2, 4, 8)[descriptor >> 6]
        assert width, "a frame names its content size"
        lengths.append(int.from_bytes(blob[at : at + width], "little") + (256 if width == 2 else 0))
        at += width
        last = False
        while not last:
            block = int.from_bytes(blob[at : at + 3], "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            at += 3 + (1 if kind == 1 else size)
    return lengths


class Comparison:
    """Compares an image of a layout with ours, and says every difference."""

    def __init__(self, build: Build, layout: Path) -> None:
        self.build, self.layout = build, layout
        self.libraries = Libraries(os.environ.get("CAIRN_OUTPUT_LIBS"))
        self.differences: list[str] = []

    def expect(self, what: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            at = 0
            if isinstance(ours, bytes) and isinstance(theirs, bytes):
                at = max(first_difference(ours, theirs) - 60, 0)
                ours, theirs = ours[at : at + 300], theirs[at : at + 300]
            self.differences.append(f"{what}, from {at} on:\n  pages:   {ours!r}\n  program: {theirs!r}")

    def run(self) -> None:
        top = json.loads((self.layout / "index.json").read_bytes())["manifests"][0]
        platforms: list[str] = self.build.spec["image"]["platforms"]
        if len(platforms) == 1:
            self.one(platforms[0], top["digest"])
            return
        raw = blob(self.layout, top["digest"])
        found = {name_of(m["platform"]): m["digest"] for m in json.loads(raw)["manifests"]}
        manifests = []
        for platform in sorted(platforms, key=lambda p: (p.split("/") + [""])[:3]):
            image = self.one(platform, found[platform])
            data = blob(self.layout, found[platform])
            named = {key: image.config[key] for key in PLATFORM if key in image.config}
            descriptor = {"mediaType": OCI + "manifest.v1+json", "digest": digest(data), "size": len(data)}
            manifests.append(descriptor | {"platform": named})
        index: Table = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": manifests}
        if annotations := self.build.spec.get("config", {}).get("annotations"):
            index["annotations"] = annotations
        self.expect("index", canonical(index), raw)

    def one(self, platform: str, name: str) -> Image:
        raw = blob(self.layout, name)
        theirs = json.loads(raw)
        image = self.build.image(platform)
        self.expect(f"{platform}: number of layers", len(image.layers), len(theirs["layers"]))
        descriptors = []
        for layer, descriptor in zip(image.layers, theirs["layers"]):
            descriptors.append(self.layer(f"{platform}: layer {layer.name}", layer, descriptor))
        config = canonical(image.config)
        self.expect(f"{platform}: configuration", config, blob(self.layout, theirs["config"]["digest"]))
        image.manifest["layers"] = descriptors
        image.manifest["config"] = {"mediaType": OCI + "config.v1+json", "digest": digest(config), "size": len(config)}
        self.expect(f"{platform}: manifest", canonical(image.manifest), raw)
        return image

    def layer(self, what: str, layer: Layer, theirs: Table) -> Table:
        """Compares one layer and gives the descriptor that it has to have."""
        if layer.descriptor is not None:
            return layer.descriptor
        data = blob(self.layout, theirs["digest"])
        media_type = LAYER_TYPES[layer.compression]
        if layer.compression == "gzip":
            members = gzip_members(data)
            self.bytes(what, b"".join(layer.segments), b"".join(members))
            self.expect(f"{what}: segments", [len(s) for s in layer.segments], [len(m) for m in members])
        elif layer.compression == "zstd":
            self.expect(f"{what}: segments", [len(s) for s in layer.segments], zstd_lengths(data))
        else:
            self.bytes(what, b"".join(layer.segments), data)
        if layer.compression != "none" and not self.libraries.found:
            return {"mediaType": media_type, "digest": theirs["digest"], "size": theirs["size"]}
        out = b"".join(layer.segments)
        if layer.compression != "none":
            out = b"".join(self.libraries.compress(s, layer.compression) for s in layer.segments)
        return {"mediaType": media_type, "digest": digest(out), "size": len(out)}

    def bytes(self, what: str, ours: bytes, theirs: bytes) -> None:
        if ours != theirs:
            at = first_difference(ours, theirs)
            start = at // 512 * 512
            shown = [data[start : start + 512].rstrip(b"\0") for data in (ours, theirs)]
            lengths = f"lengths {len(ours)} and {len(theirs)}"
            self.differences.append(
                f"{what}: differs from byte {at} on, {lengths}\n  pages:   {shown[0]!r}\n  program: {shown[1]!r}"
            )


def first_difference(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    comparison = Comparison(Build(Path(arguments[0])), Path(arguments[1]))
    comparison.run()
    for difference in comparison.differences:
        print(difference)
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
