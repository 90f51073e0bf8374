#!/usr/bin/env python3
"""Reads, verifies and folds a ledger from an OCI image layout, using only docs/ledger-format.md.

    python3 read_ledger.py DIRECTORY [--trust sha256:GENESIS] [--json]

Needs python3-cryptography. Exits 0 if a ledger was read, 1 if there is none, none that counts, or two and no word which. It shows that the page is complete, and
is for whoever writes a reader of their own; it neither compares tags nor looks at images.
"""

import base64
import hashlib
import json
import re
import sys
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

HEAD = "application/vnd.cairn.ledger.head.v1+json"
PACK = "application/vnd.cairn.ledger.pack.v1"
LEDGER = "application/vnd.cairn.ledger.v1+json"
ENTRY = "application/vnd.in-toto+json"
FORWARD = {"release", "promote", "switch", "adopt"}
GLASS = {"release", "promote", "rollback", "switch", "resume"}
CODES = ["kind", "actor", "at", "nonce"]
MAY = CODES + ["reason", "source", "run", "glass"]
SHAPES = {  # kind: (must have, may have)
    "genesis": (["authority", "home", "mode"], ["rules", "continues"]),
    "keys": (["ledger", "chain", "authority"], []),
    "rules": (["ledger", "chain", "rules"], []),
    "release": (["ledger", "chain", "version", "digest"], ["moves", "record", "resume"]),
    "promote": (["ledger", "chain", "version", "digest", "moves"], ["resume"]),
    "rollback": (["ledger", "chain", "digest", "moves", "hold"], ["version"]),
    "switch": (["ledger", "chain", "digest", "moves", "from"], ["version", "resume"]),
    "resume": (["ledger", "chain", "moves"], []),
    "yank": (["ledger", "chain", "version", "digest"], []),
    "adopt": (["ledger", "chain", "digest"], ["version", "moves", "resume"]),
    "record": (["ledger", "chain", "digest", "moves"], ["version"]),
    "prune": (["ledger", "chain", "version", "digest"], []),
    "ratify": (["ledger", "chain", "ratifies"], []),
}


class Refused(Exception):
    """A head does not count, and why."""


# What bytes of somebody else may raise while they are read: a blob that is missing, a member that is, or is of another type.
BROKEN = (Refused, KeyError, ValueError, TypeError, AttributeError, OSError)


def need(condition, why):
    if not condition:
        raise Refused(why)


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def strict(data):
    """JSON with no key twice and nothing after its end."""

    def pairs(items):
        need(len({key for key, _ in items}) == len(items), "a key twice")
        return dict(items)

    try:
        return json.loads(data, object_pairs_hook=pairs)
    except ValueError as error:
        raise Refused(f"not JSON: {error}") from error


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# Keys and envelopes


def fingerprint(key):
    digest = hashlib.sha256(base64.b64decode(key, validate=True)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def verifies(key, message, signature):
    public = load_der_public_key(base64.b64decode(key))
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, message)
        else:
            public.verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def open_envelope(data, payload_type):
    need(len(data) <= 12 * 1024 and b"\n" not in data, "an envelope over its limits")
    envelope = strict(data)
    need(set(envelope) == {"payload", "payloadType", "signatures"}, "not an envelope")
    need(envelope["payloadType"] == payload_type, "an envelope of another type")
    payload = base64.b64decode(envelope["payload"], validate=True)
    need(len(payload) < 4096 and 1 <= len(envelope["signatures"]) <= 16, "an envelope over its limits")
    return payload, envelope["signatures"]


def signers(payload, payload_type, signatures, keys):
    """The fingerprints of the keys that signed, each once."""
    head = f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode()
    found = set()
    for one in signatures:
        key = keys.get(one["keyid"])
        if key and verifies(key, head + payload, base64.b64decode(one["sig"], validate=True)):
            found.add(one["keyid"])
    return found


def named(entry):
    """The entries that an entry names."""
    names = [entry.get("ledger"), entry.get("chain"), entry.get("ratifies"), entry.get("from", {}).get("after")]
    return [name for name in names + [move.get("after") for move in entry.get("moves", [])] if name]


def only(value, must, may=()):
    need(isinstance(value, dict), "no object")
    need(set(must) <= set(value) <= set(must) | set(may), f"of {sorted(value)} a member is missing or unknown")


def check_members(entry):
    """No part of an entry has a member that the page does not know."""
    for move in entry.get("moves", []) + [entry[part] for part in ["from"] if part in entry]:
        only(move, ["channel"], ["after"])
    only(entry["actor"], ["id", "how"])
    only(entry.get("source", {}), [], ["repository", "path", "commit", "ref", "dirty"])
    only(entry.get("run", {}), [], ["url", "id"])
    only(entry.get("continues", {"ledger": "", "head": ""}), ["ledger", "head"])
    authority = entry.get("authority", {"keys": [], "threshold": 1})
    only(authority, ["keys", "threshold"], ["recovery"])
    for grant in authority["keys"]:
        only(grant, ["key", "roles"], ["name", "groups", "until"])
        for role in grant["roles"]:
            only(role, [], ["kinds", "channels", "shown"])
    rules = entry.get("rules", {})
    only(rules, [], ["channels"])
    for rule in rules.get("channels", {}).values():
        only(rule, [], ["from", "soak", "freeze", "floor", "requires", "glass"])
        for freeze in rule.get("freeze", []):
            only(freeze, ["from", "until"])


def parse_entry(line):
    payload, signatures = open_envelope(line, ENTRY)
    statement = strict(payload)
    need(set(statement) == {"_type", "subject", "predicateType", "predicate"}, "not a statement")
    need(statement["_type"] == "https://in-toto.io/Statement/v1", "another type of statement")
    need(statement["predicateType"] == "urn:cairn:entry:v1", "another type of predicate")
    entry = statement["predicate"]
    need(re.fullmatch("[a-z-]{1,32}", entry["kind"]), "not the name of a kind")
    is_known = entry["kind"] in SHAPES
    must, more = SHAPES.get(entry["kind"], (["ledger", "chain"], ["moves"]))
    if not is_known:
        # What a later version says in other members is not for us.
        entry = {member: entry[member] for member in entry if member in MAY + must + more}
    need(all(member in entry for member in CODES + must), f"a {entry['kind']} entry lacks a member")
    need(set(entry) <= set(MAY + must + more), f"a {entry['kind']} entry has a member too many")
    check_members(entry)
    about = entry.get("digest") or entry.get("ledger")
    subject = [{"digest": {"sha256": about.removeprefix("sha256:")}}] if about else []
    need(statement["subject"] == subject or not is_known, "the subject is not what the predicate names")
    channels = [move["channel"] for move in entry.get("moves", [])]
    need(len(channels) == len(set(channels)) <= 16, "moves")
    need(entry["kind"] != "record" or len(channels) == 1, "a record moves one channel")
    need(entry["kind"] != "adopt" or channels or "version" in entry, "an adoption of nothing")
    return sha256(payload), entry, payload, signatures


# Authority


def listed(authority):
    keys = [grant["key"] for grant in authority["keys"]]
    return keys + ([authority["recovery"]] if "recovery" in authority else [])


def may(authority, key, kind, at, channel=None, new=False):
    """Whether a key may make such an entry, and with it act on a channel, or make it show something new."""
    for grant in authority["keys"]:
        if fingerprint(grant["key"]) == key and valid(grant, at):
            for role in grant["roles"]:
                on = channel is None or channel in role.get("channels", [channel])
                only_shown = role.get("shown", False) and (channel is None or new)
                if on and not only_shown and kind in role.get("kinds", [kind]):
                    return True
    return False


def valid(grant, at):
    return "until" not in grant or seconds(at) <= seconds(grant["until"])


def usable_keys(authority):
    keys, grants = listed(authority), authority["keys"]
    names = [grant["name"] for grant in grants if "name" in grant]
    groups = [grant.get("groups", []) for grant in grants]
    can = [g for g in grants if any("keys" in r.get("kinds", ["keys"]) and not r.get("shown") for r in g["roles"])]
    return (
        1 <= len(grants) <= 16
        and len(keys) == len(set(keys))
        and len(names) == len(set(names))
        and all(group == sorted(set(group)) for group in groups)
        and 1 <= authority["threshold"] <= len(can)
    )


def usable_rules(rules):
    for rule in rules.get("channels", {}).values():
        glass = rule.get("glass", [])
        if ("soak" in rule and "from" not in rule) or len(glass) != len(set(glass)) or not set(glass) <= GLASS:
            return False
    return True


def threshold_met(authority, signed, kind, at):
    recovery = authority.get("recovery")
    if kind == "keys" and recovery and fingerprint(recovery) in signed:
        return True
    able = sum(may(authority, key, kind, at) for key in signed)
    return able >= max(1, authority["threshold"])


# The fold


class Void(Exception):
    """An effect falls, and why."""


class Fold:
    def __init__(self):
        self.ledger = self.mode = self.home = self.chain = self.authority = None
        self.rules, self.channels, self.versions = {}, {}, {}
        self.pruned, self.glass, self.seen, self.outcomes = {}, {}, {}, []

    def channel(self, name):
        empty = {"shows": None, "trail": [], "hold": None, "last": None, "stays": {}}
        return self.channels.setdefault(name, empty)

    def apply(self, name, entry, signed):
        self.name, self.entry, self.signed, self.position = name, entry, signed, len(self.outcomes)
        self.kind, self.at = entry["kind"], entry["at"]
        self.effects = []
        if name in self.seen:
            self.effects.append(("the entry", "repetition"))
        elif self.kind not in SHAPES:
            self.effects.append(("the entry", "unknown-kind"))
        else:
            getattr(self, "on_" + {"adopt": "release", "switch": "promote", "rules": "keys", "prune": "yank"}.get(self.kind, self.kind))()
        self.seen.setdefault(name, named(entry))
        self.outcomes.append([effect for effect in self.effects if effect[1]])

    def effect(self, subject, judge, act, access=(None, False)):
        """Judges one effect, and does it if it stands. `access` is by whose right: a key, and whether it broke the glass."""
        try:
            judge()
        except Void as why:
            self.effects.append((subject, str(why)))
            return str(why)
        act()
        if access[1]:
            self.glass[self.name] = {"key": access[0], "ratified": None}
        self.effects.append((subject, None))
        return None

    # Who may

    def glass_key(self):
        key = self.entry.get("glass") and fingerprint(self.entry["glass"])
        return key if key in self.signed and key not in map(fingerprint, listed(self.authority)) else None

    def allows_glass(self, channel):
        return self.kind in self.rules.get(channel, {}).get("glass", [])

    def access(self, channel, shows=False):
        new = shows and self.entry["digest"] not in self.channel(channel)["stays"]
        for key in sorted(self.signed):
            if may(self.authority, key, self.kind, self.at, channel, new):
                return key, False
        key = self.glass_key()
        return (key, True) if key and self.allows_glass(channel) else (None, False)

    @staticmethod
    def allow(access):
        if access[0] is None:
            raise Void("not-allowed")

    # What is moved to

    def standing(self, version):
        """The digest that a version names, `None` if it names none, and whether it is contested."""
        bound = self.versions.get(version, {})
        live = [digest for digest, by in bound.items() if not by["yanked"]]
        return (live[0] if len(live) == 1 else None), len(live) > 1

    def bindings(self, digest):
        return [bound[digest] for bound in self.versions.values() if digest in bound]

    def barred(self, digest):
        bound = self.bindings(digest)
        return bool(bound) and all(by["yanked"] for by in bound)

    def target(self):
        digest, version, slot = self.entry["digest"], self.entry.get("version"), self.entry.get("from")
        if slot:
            state = self.channel(slot["channel"])
            if not state["shows"] or state["shows"]["digest"] != digest or (state["last"] or {}).get("entry") != slot.get("after"):
                raise Void("slot-moved")
        if version is not None:
            names, contested = self.standing(version)
            by = self.versions.get(version, {}).get(digest)
            if names != digest:
                raise Void("contested" if contested else "yanked" if by and by["yanked"] and names is None else "unknown-version")
        elif self.barred(digest):
            raise Void("yanked")
        elif self.kind not in ("adopt", "record"):
            shown = any(digest in channel["stays"] for channel in self.channels.values())
            if not shown and not self.bindings(digest):
                raise Void("unknown-version")
        if digest in self.pruned:
            raise Void("pruned")

    def floor(self, channel):
        floor = self.rules.get(channel, {}).get("floor")
        digest = floor and self.standing(floor)[0]
        if digest:
            least = self.versions[floor][digest]["position"]
            newest = [by["position"] for by in self.bindings(self.entry["digest"])]
            if newest and max(newest) < least:
                raise Void("below-floor")

    def stay(self, channel, digest):
        longest, since = self.channel(channel)["stays"][digest]
        return max(longest, seconds(self.at) - since) if since is not None else longest

    def limits(self, channel, access):
        rule, digest = self.rules.get(channel, {}), self.entry["digest"]
        for freeze in rule.get("freeze", []):
            if seconds(freeze["from"]) <= seconds(self.at) <= seconds(freeze["until"]):
                raise Void("frozen")
        if "from" in rule:
            if digest not in self.channel(rule["from"])["stays"]:
                raise Void("not-from")
            if self.stay(rule["from"], digest) < rule.get("soak", 0):
                raise Void("too-early")
        self.approved(channel, access)
        self.floor(channel)

    def approved(self, channel, access):
        if access[1]:
            return
        for group, count in self.rules.get(channel, {}).get("requires", {}).items():
            member = lambda grant: group in grant.get("groups", []) and valid(grant, self.at)
            signed = [g for g in self.authority["keys"] if member(g) and fingerprint(g["key"]) in self.signed]
            if len(signed) < count:
                raise Void("unapproved")

    def after(self, move):
        last = self.channel(move["channel"])["last"]
        if (last["entry"] if last else None) != move.get("after"):
            raise Void("overtaken")

    # What moving does

    def touch(self, move):
        last = {"entry": self.name, "kind": self.kind, "after": move.get("after")}
        self.channel(move["channel"])["last"] = last

    def show(self, move):
        state, digest, now = self.channel(move["channel"]), self.entry["digest"], seconds(self.at)
        before = state["shows"]
        state["shows"] = {"digest": digest, "version": self.entry.get("version"), "entry": self.name}
        if not before or before["digest"] != digest:
            if before:
                state["stays"][before["digest"]] = (self.stay(move["channel"], before["digest"]), None)
            state["stays"][digest] = (state["stays"].get(digest, (0, None))[0], now)
        self.touch(move)

    def forward(self, move):
        state = self.channel(move["channel"])
        if state["shows"] and state["shows"]["digest"] != self.entry["digest"]:
            state["trail"].append(state["shows"])
        self.show(move)
        if self.entry.get("resume"):
            state["hold"] = None

    def cut(self, move):
        trail = self.channel(move["channel"])["trail"]
        at = [i for i, shown in enumerate(trail) if shown["digest"] == self.entry["digest"]]
        if at:
            del trail[at[-1] :]
        return bool(at)

    # The kinds

    def on_genesis(self):
        if self.ledger:
            self.effects.append(("the entry", "not-allowed"))
            return
        self.ledger = self.chain = self.name
        self.mode, self.home = self.entry["mode"], self.entry["home"]
        self.authority, self.rules = self.entry["authority"], self.entry.get("rules", {}).get("channels", {})

    def on_keys(self):
        def judge():
            if not threshold_met(self.authority, self.signed, self.kind, self.at):
                raise Void("not-allowed")
            if self.entry["chain"] != self.chain:
                raise Void("overtaken")
            if self.kind == "keys" and not usable_keys(self.entry["authority"]):
                raise Void("unusable-keys")
            if self.kind == "rules" and not usable_rules(self.entry["rules"]):
                raise Void("unusable-rules")

        def act():
            self.chain = self.name
            if self.kind == "keys":
                self.authority = self.entry["authority"]
            else:
                self.rules = self.entry["rules"].get("channels", {})

        self.effect("the " + self.kind, judge, act)

    def on_release(self):
        version, digest = self.entry.get("version"), self.entry["digest"]
        if version is None:
            self.on_promote()
            return
        keys = [key for key in sorted(self.signed) if may(self.authority, key, self.kind, self.at)]
        access, moves = (keys[0], False) if keys else (None, False), self.entry.get("moves", [])
        if not keys and self.glass_key() and moves and all(self.allows_glass(move["channel"]) for move in moves):
            access = (self.glass_key(), True)

        def judge():
            self.allow(access)
            bound = self.versions.get(version, {})
            others = [by["entry"] for other, by in bound.items() if other != digest]
            if digest in bound:
                if others:
                    raise Void("contested")
                if bound[digest]["yanked"]:
                    raise Void("yanked")
            elif others and self.saw(others[0]):
                raise Void("version-bound")
            else:
                by = {"entry": self.name, "position": self.position, "yanked": None}
                self.versions.setdefault(version, {})[digest] = by
                if others:
                    self.pruned.pop(digest, None)
                    raise Void("contested")

        why = self.effect(version, judge, lambda: self.pruned.pop(digest, None), access)
        self.on_promote(binding=(why,))

    def saw(self, earlier):
        todo, done = named(self.entry), set()
        while todo:
            name = todo.pop()
            if name == earlier:
                return True
            if name not in done:
                done.add(name)
                todo += self.seen.get(name, [])
        return False

    def on_promote(self, binding=None):
        for move in self.entry.get("moves", []):
            channel = move["channel"]
            access = self.access(channel, shows=True)

            def judge():
                self.allow(access)
                self.after(move)
                if self.channel(channel)["hold"] and not self.entry.get("resume"):
                    raise Void("held")
                if binding is None:
                    self.target()
                elif binding[0] not in (None, "contested"):
                    raise Void(binding[0])
                self.limits(channel, access)

            self.effect(channel, judge, lambda: self.forward(move), access)

    def on_rollback(self):
        for move in self.entry["moves"]:
            channel = move["channel"]
            access, to_hold = self.access(channel, shows=True), self.access(channel)

            def judge():
                self.allow(access)
                last = self.channel(channel)["last"]
                if not (last and last["kind"] in FORWARD and last["after"] == move.get("after")):
                    self.after(move)
                self.target()
                self.floor(channel)

            self.effect(channel, judge, lambda: (self.cut(move), self.show(move)), access)
            if self.entry["hold"]:
                hold = lambda: (self.channel(channel).update(hold=self.name), self.touch(move))
                self.effect("the hold of " + channel, lambda: self.allow(to_hold), hold, to_hold)

    def on_record(self):
        move = self.entry["moves"][0]
        access = self.access(move["channel"], shows=True)

        def judge():
            self.allow(access)
            self.after(move)
            self.target()
            self.floor(move["channel"])

        act = lambda: self.show(move) if self.cut(move) else self.forward(move)
        self.effect(move["channel"], judge, act)

    def on_resume(self):
        for move in self.entry["moves"]:
            channel = move["channel"]
            access = self.access(channel)

            def judge():
                self.allow(access)
                self.after(move)
                if not self.channel(channel)["hold"]:
                    raise Void("not-held")
                self.approved(channel, access)

            act = lambda: (self.channel(channel).update(hold=None), self.touch(move))
            self.effect(channel, judge, act, access)

    def on_yank(self):
        version, digest = self.entry["version"], self.entry["digest"]

        def judge():
            if not any(may(self.authority, key, self.kind, self.at) for key in self.signed):
                raise Void("not-allowed")
            by = self.versions.get(version, {}).get(digest)
            if not by:
                raise Void("unknown-version")
            if self.kind == "yank" and by["yanked"]:
                raise Void("yanked")
            if self.kind == "prune" and digest in self.pruned:
                raise Void("pruned")
            shown = [channel["shows"]["digest"] for channel in self.channels.values() if channel["shows"]]
            if self.kind == "prune" and digest in shown:
                raise Void("shown")

        def act():
            if self.kind == "prune":
                self.pruned[digest] = self.name
            else:
                self.versions[version][digest]["yanked"] = self.name

        self.effect(version, judge, act)

    def on_ratify(self):
        glass = self.glass.get(self.entry["ratifies"])

        def judge():
            if not glass:
                raise Void("no-glass")
            if not any(key != glass["key"] and may(self.authority, key, self.kind, self.at) for key in self.signed):
                raise Void("not-allowed")
            if glass["ratified"]:
                raise Void("ratified")

        self.effect("the entry", judge, lambda: glass.update(ratified=self.name))

    # Answers

    def way_back(self, channel):
        state = self.channels[channel]
        for shown in reversed(state["trail"]):
            digest = shown["digest"]
            if digest != state["shows"]["digest"] and not self.barred(digest) and digest not in self.pruned:
                return shown
        return None


# Heads and the view


class Layout:
    """An OCI image layout, read blob by blob, each held against its digest."""

    def __init__(self, directory):
        self.directory = Path(directory)
        index = json.loads((self.directory / "index.json").read_bytes())
        name = "org.opencontainers.image.ref.name"
        tagged = [(one.get("annotations", {}).get(name, ""), one) for one in index["manifests"]]
        self.heads = [("linear", one) for tag, one in tagged if tag == "cairn-head"]
        for tag, one in tagged:
            causal = re.fullmatch(r"cairn-h-[0-9]{10}-([0-9a-f]{16})", tag)
            if causal and one["digest"].startswith("sha256:" + causal[1]):
                self.heads.append(("causal", one))

    def read(self, descriptor):
        data = (self.directory / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        need(sha256(data) == descriptor["digest"] and len(data) == descriptor["size"], "a blob is not what it should be")
        return data


def layout_of(size):
    packs = []
    for step in (4096, 256, 16):
        while size >= step:
            packs.append(step)
            size -= step
    return packs + ([size] if size else [])


def read_head(layout, mode, descriptor):
    """The entries of a head that counts, with the state after them. Each mode has its own tags."""
    data = layout.read(descriptor)
    manifest = strict(data)
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    need(data == canonical and set(manifest) == {"schemaVersion", "mediaType", "artifactType", "config", "layers"}, "the form of the manifest")
    need(manifest["artifactType"] == LEDGER and manifest["config"]["mediaType"] == HEAD, "no head")
    config, signatures = open_envelope(layout.read(manifest["config"]), HEAD)
    statement = strict(config)
    only(statement, ["ledger", "size", "packs", "at"], ["from", "covers"])
    need(1 <= statement["size"] and len(statement.get("covers", [])) <= 128, "a statement over its limits")
    for blob in [manifest["config"], *manifest["layers"]]:
        only(blob, ["mediaType", "digest", "size"])
    digests = b"".join(bytes.fromhex(pack["digest"][7:]) for pack in manifest["layers"])
    need(sha256(digests) == statement["packs"], "the packs are not those that were signed")
    sizes = layout_of(statement["size"])
    need(len(sizes) == len(manifest["layers"]), "the packs do not fit to the size")
    fold, keys, entries, seen = Fold(), {}, [], set()
    for size, pack in zip(sizes, manifest["layers"]):
        lines = layout.read(pack).split(b"\n")
        need(pack["mediaType"] == PACK and len(lines) == size + 1 and lines[-1] == b"", "a pack of another size")
        for line in lines[:-1]:
            admit(fold, keys, entries, seen, line)
    last = entries[-1][1]
    known = dict(keys)
    if "glass" in last:
        known[fingerprint(last["glass"])] = last["glass"]
    broke = fold.glass.get(entries[-1][0], {}).get("key")
    signed = signers(config, HEAD, signatures, known)
    current = {fingerprint(g["key"]) for g in fold.authority["keys"] if valid(g, statement["at"])}
    need(signed & (current | {broke}), "the head is signed by no key that may")
    need(statement["ledger"] == fold.ledger, "the head is of another ledger")
    need(fold.mode == mode, "a head of the other mode")
    return {"digest": descriptor["digest"], "statement": statement, "fold": fold, "keys": keys, "entries": entries, "seen": seen}


def admit(fold, keys, entries, seen, line):
    """Takes an entry: signatures first, then the fold."""
    name, entry, payload, signatures = parse_entry(line)
    need((entry["kind"] == "genesis") == (not entries) and entry.get("ledger") == fold.ledger, "an entry of another ledger")
    need(all(one in seen for one in named(entry)), "an entry before one that it names")
    known = dict(keys)
    if entry["kind"] == "genesis":
        authority = entry["authority"]
        need(usable_keys(authority) and usable_rules(entry.get("rules", {})), "a genesis that cannot be used")
        known.update((fingerprint(key), key) for key in listed(authority))
    elif "glass" in entry:
        known.setdefault(fingerprint(entry["glass"]), entry["glass"])
    signed = signers(payload, ENTRY, signatures, known)
    need(signed, f"the entry {len(entries)} has no signature of a known key")
    if entry["kind"] == "genesis":
        need(threshold_met(entry["authority"], signed, "keys", entry["at"]), "a genesis without enough signatures")
    if "authority" in entry:
        keys.update((fingerprint(key), key) for key in listed(entry["authority"]))
    fold.apply(name, entry, signed)
    entries.append((name, entry, line))
    seen.add(name)


def view(layout, trust=None):
    """The best head, then what the others have beyond it."""
    heads, findings = [], []
    for mode, descriptor in layout.heads:
        try:
            heads.append(read_head(layout, mode, descriptor))
        except BROKEN as why:
            findings.append(f"{descriptor['digest']} does not count: {why}")
    ledgers = {head["fold"].ledger for head in heads}
    if trust or len(ledgers) > 1:
        findings += [f"a head of another ledger, {ledger}" for ledger in sorted(ledgers - {trust})]
        heads = [head for head in heads if head["fold"].ledger == trust]
    if not heads:
        return None, findings
    chain = lambda head: sum(e["kind"] in ("keys", "rules") and not o for (_, e, _), o in zip(head["entries"], head["fold"].outcomes))
    heads.sort(key=lambda head: (-chain(head), -head["statement"]["size"], head["digest"]))
    best, others = heads[0], heads[1:]
    for other in sorted(others, key=lambda head: (-head["statement"]["size"], head["digest"])):
        for name, entry, line in other["entries"]:
            if name in best["seen"]:
                continue
            try:
                need(takes_in(best["fold"], entry, line, best["keys"]), "its key is no longer allowed")
                admit(best["fold"], best["keys"], best["entries"], best["seen"], line)
            except Refused as why:
                findings.append(f"{name} was left out: {why}")
    return best, findings


def takes_in(fold, entry, line, keys):
    """Whether an entry of another head is taken in: by a key that is listed now, or one that may break the glass."""
    known = dict(keys)
    if "glass" in entry:
        known[fingerprint(entry["glass"])] = entry["glass"]
    payload, signatures = open_envelope(line, ENTRY)
    signed = signers(payload, ENTRY, signatures, known)
    current = {fingerprint(g["key"]) for g in fold.authority["keys"] if valid(g, entry["at"])}
    glass = "glass" in entry and fingerprint(entry["glass"])
    unlisted = glass in signed and glass not in map(fingerprint, listed(fold.authority))
    allows = [entry["kind"] in fold.rules.get(move["channel"], {}).get("glass", []) for move in entry.get("moves", [])]
    return bool(signed & current) or (unlisted and any(allows))


def report(best, findings):
    fold = best["fold"]
    channels, versions, entries = [], [], []
    for name in sorted(channel for channel, state in fold.channels.items() if state["shows"]):
        state, back = fold.channels[name], fold.way_back(name)
        shows = {"name": name, "version": state["shows"]["version"], "digest": state["shows"]["digest"]}
        back = back and {"version": back["version"], "digest": back["digest"]}
        channels.append({**shows, "held": bool(state["hold"]), "way_back": back})
    for version in sorted(fold.versions):
        digest, contested = fold.standing(version)
        standing = "pruned" if digest in fold.pruned else "released" if digest else "contested" if contested else "yanked"
        versions.append({"version": version, "standing": standing, "digests": list(fold.versions[version])})
    for seq, ((name, entry, _), void) in enumerate(zip(best["entries"], fold.outcomes)):
        void = [{"subject": subject, "why": why} for subject, why in void]
        entries.append({"seq": seq, "name": name, "kind": entry["kind"], "version": entry.get("version"), "void": void})
    glass = [{"name": name, "ratified": by["ratified"]} for name, by in sorted(fold.glass.items())]
    return {
        "ledger": fold.ledger,
        "mode": fold.mode,
        "home": fold.home,
        "size": len(entries),
        "channels": channels,
        "versions": versions,
        "entries": entries,
        "break_glass": glass,
        "findings": findings,
    }


def main(arguments):
    as_json, trust, directories = "--json" in arguments, None, [one for one in arguments if one != "--json"]
    if "--trust" in directories[:-1]:
        at = directories.index("--trust")
        trust = directories.pop(at + 1)
        directories.pop(at)
    if len(directories) != 1 or directories[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        best, findings = view(Layout(directories[0]), trust)
    except BROKEN as why:
        print(f"{directories[0]} is no image layout: {why}", file=sys.stderr)
        return 1
    for finding in findings:
        print(finding, file=sys.stderr)
    if not best:
        print("no ledger that counts", file=sys.stderr)
        return 1
    said = report(best, findings)
    if as_json:
        print(json.dumps(said, indent=1))
        return 0
    print(f"ledger   {said['ledger']}  {said['mode']}, {said['size']} entries")
    for channel in said["channels"]:
        back = channel["way_back"] and (channel["way_back"]["version"] or channel["way_back"]["digest"])
        held = ", held" if channel["held"] else ""
        print(f"channel  {channel['name']}  {channel['version'] or '-'}  {channel['digest']}{held}  back: {back or '-'}")
    for version in said["versions"]:
        print(f"version  {version['version']}  {version['standing']}  {' '.join(version['digests'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
