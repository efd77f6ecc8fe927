#!/usr/bin/env python3
"""Computes the known answers that tests hold Arca's cryptography to.

This is a second implementation of the formats, written from docs/design/cryptography.md
with nothing but Python's standard library, so that no test compares the Go code with
itself. It checks its own AES-GCM and HKDF with published vectors first.

    scripts/known-answers.py          writes the files
    scripts/known-answers.py --check  fails if a file is not what it would write, or if it
                                      cannot open the backups that the tests restore

The files are what data of the first release looks like: they change only when a format
gets a new version beside the old one, and then they grow.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys

# ---- primitives ----


def aes_tables():
    """The S-box of FIPS 197, from its definition."""
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p = (p ^ (p << 1) ^ (0x11B if p & 0x80 else 0)) & 0xFF  # times 3
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q = (q ^ (0x09 if q & 0x80 else 0)) & 0xFF  # divided by 3
        x = q
        for turn in range(1, 5):
            x ^= ((q << turn) | (q >> (8 - turn))) & 0xFF
        box[p] = x ^ 0x63
        if p == 1:
            return box


SBOX = aes_tables()


def double(b):
    return ((b << 1) ^ 0x1B) & 0xFF if b & 0x80 else b << 1


def aes256_schedule(key):
    words = [list(key[i : i + 4]) for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        w = list(words[i - 1])
        if i % 8 == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon = double(rcon)
        elif i % 8 == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(words[i - 8], w)])
    return [sum(words[i : i + 4], []) for i in range(0, 60, 4)]


def aes256(schedule, block):
    s = [a ^ b for a, b in zip(block, schedule[0])]
    for turn in range(1, 15):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]  # SubBytes, ShiftRows
        if turn < 14:
            mixed = []
            for c in range(0, 16, 4):
                a = s[c : c + 4]
                for i in range(4):
                    b, d = a[i], a[(i + 1) % 4]
                    mixed.append(double(b) ^ double(d) ^ d ^ a[(i + 2) % 4] ^ a[(i + 3) % 4])
            s = mixed
        s = [a ^ b for a, b in zip(s, schedule[turn])]
    return bytes(s)


def gf_multiply(x, y):
    z = 0
    for i in range(128):
        if y >> (127 - i) & 1:
            z ^= x
        x = (x >> 1) ^ (0xE1 << 120 if x & 1 else 0)
    return z


def gcm_seal(key, nonce, plaintext, ad):
    """AES-256-GCM of NIST SP 800-38D with a nonce of 96 bits: ciphertext and tag."""
    schedule = aes256_schedule(key)
    out = b""
    for i in range(0, len(plaintext), 16):
        stream = aes256(schedule, nonce + struct.pack(">I", i // 16 + 2))
        out += bytes(a ^ b for a, b in zip(plaintext[i : i + 16], stream))
    h = int.from_bytes(aes256(schedule, bytes(16)), "big")
    tag = 0
    for part in (ad, out):
        for i in range(0, len(part), 16):
            tag = gf_multiply(tag ^ int.from_bytes(part[i : i + 16].ljust(16, b"\0"), "big"), h)
    tag = gf_multiply(tag ^ (len(ad) * 8 << 64 | len(out) * 8), h)
    tag ^= int.from_bytes(aes256(schedule, nonce + b"\0\0\0\1"), "big")
    return out + tag.to_bytes(16, "big")


def gcm_open(key, nonce, sealed, ad):
    # Encryption is its own inverse; what comes out sealed again shows whether the tag is right.
    plaintext = gcm_seal(key, nonce, sealed[:-16], b"")[:-16]
    if gcm_seal(key, nonce, plaintext, ad) != sealed:
        raise ValueError("does not open")
    return plaintext


def hkdf(secret, salt, info, length):
    """HKDF-SHA-256 of RFC 5869."""
    prk = hmac.digest(salt, secret, "sha256")
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([len(out) // 32 + 1]), "sha256")
        out += block
    return out[:length]


def check_primitives():
    unhex = bytes.fromhex
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13, 14 and 16.
    for key, nonce, plaintext, ad, want in [
        ("00" * 32, "00" * 12, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        ("00" * 32, "00" * 12, "00" * 16, "", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
        (
            "feffe9928665731c6d6a8f9467308308" * 2,
            "cafebabefacedbaddecaf888",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ]:
        assert gcm_seal(unhex(key), unhex(nonce), unhex(plaintext), unhex(ad)).hex() == want
    # RFC 5869, test cases A.1 and A.2.
    assert hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(bytes(range(0x50)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)), 82).hex() == (
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
    )


# ---- formats ----


def fixed(name, length):
    """Bytes that look random and are the same every time."""
    return hkdf(b"arca known answers", b"", name.encode(), length)


class Key:
    def __init__(self, name, version=1, id_=None):
        self.id = id_ or fixed(name + " id", 16)
        self.version = version
        self.secret = fixed(f"{name} secret {version}", 32)

    def seal(self, label, plaintext, ad, name):
        """An envelope of format 1. Its salt and nonce follow from name."""
        salt, nonce = fixed(name + " salt", 16), fixed(name + " nonce", 12)
        header = b"\x01" + self.id + struct.pack(">I", self.version) + salt
        message_key = hkdf(self.secret, salt, b"arca/envelope/1\0" + label.encode(), 32)
        return header + nonce + gcm_seal(message_key, nonce, plaintext, header + ad)

    def seal_key(self, inner, ad, name):
        return self.seal("key", inner.id + struct.pack(">I", inner.version) + inner.secret, ad, name)

    def text(self):
        return {"id": self.id.hex(), "version": self.version, "secret": self.secret.hex()}


def counted(b):
    return struct.pack(">I", len(b)) + b


def context(pairs):
    """The encoding of an encryption context."""
    pairs = {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in pairs.items()}
    return struct.pack(">I", len(pairs)) + b"".join(counted(k) + counted(pairs[k]) for k in sorted(pairs))


def cbor(v):
    """Deterministic CBOR (RFC 8949, 4.2) of what records are made of."""

    def head(major, n):
        for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
            if n < 24:
                return bytes([major << 5 | n])
            if n < 1 << 8 * size:
                return bytes([major << 5 | info]) + n.to_bytes(size, "big")
        raise OverflowError(n)

    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(cbor, v))
    if isinstance(v, dict):
        pairs = sorted((cbor(k), cbor(x)) for k, x in v.items())
        return head(5, len(pairs)) + b"".join(k + x for k, x in pairs)
    raise TypeError(v)


def uvarint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


# ---- a store ----

ACCOUNT, REGION = "123456789012", "eu-west-1"
DEPLOYMENT = fixed("deployment", 16)
ROOT, KEK = Key("root key"), Key("kek")
OLD_STORAGE = Key("storage")
STORAGE = Key("storage", version=2, id_=OLD_STORAGE.id)
PURPOSES = {p: Key(p) for p in ("index", "kms", "iam", "session-token", "page-token")}
CREATED = 1767225600  # 2026-01-01

PREFIX = b"arca/1/"


def record(key, at, sequence, form, body):
    """The value of a record in etcd."""
    ad = counted(DEPLOYMENT) + counted(at) + counted(struct.pack(">Q", sequence))
    sealed = key.seal("store", cbor([form, body]), ad, f"record {at.hex()} {sequence}")
    return b"\x01" + uvarint(sequence) + sealed


def etcd_key(table, *parts):
    """Where a record lies: HMACs of the parts under the index key, each over those above."""
    out, above = b"", b""
    for level, part in enumerate(parts, 1):
        message = bytes([len(table)]) + table.encode() + bytes([level]) + above + part.encode()
        above = hmac.digest(PURPOSES["index"].secret, message, "sha256")[:16]
        out += above
    return PREFIX + table.encode() + b"/" + out


def keyring_entry(purpose, key, state):
    ad = context(
        {
            "use": "keyring",
            "deployment": DEPLOYMENT,
            "purpose": purpose,
            "id": key.id,
            "version": str(key.version),
            "created": str(CREATED),
            "state": str(state),
        }
    )
    sealed = KEK.seal_key(key, ad, f"keyring {purpose} {key.version}")
    return {1: purpose, 2: key.id, 3: key.version, 4: CREATED, 5: state, 6: sealed}


def store():
    wrapped = ROOT.seal_key(KEK, context({"use": "kek", "deployment": DEPLOYMENT}), "wrapped kek")
    entries = [keyring_entry("storage", OLD_STORAGE, 2), keyring_entry("storage", STORAGE, 1)]
    entries += [keyring_entry(p, k, 1) for p, k in PURPOSES.items()]
    values = {
        PREFIX + b"meta/root": cbor({1: 1, 2: DEPLOYMENT, 3: "test", 4: b"known", 5: wrapped}),
        PREFIX + b"meta/keyring": cbor({1: 1, 2: entries}),
    }
    at = PREFIX + b"meta/floor"
    values[at] = record(OLD_STORAGE, at, 1, 1, {1: 1000})
    return {
        "about": "A store with an old and a new storage key: what lies in etcd, and its root key.",
        "root_key": ROOT.text(),
        "deployment": DEPLOYMENT.hex(),
        "etcd": {k.hex(): v.hex() for k, v in values.items()},
    }


def store_records():
    scope, parent, child = f"{ACCOUNT}/{REGION}", "8a2f", "v1"
    records = []
    for name, table, parts, key, form, body in [
        ("under the old storage key", "things", [scope], OLD_STORAGE, 3, {1: "old", 2: 7}),
        ("under the new storage key", "things", [scope, parent], STORAGE, 3, {1: "new", 3: ["x", "y"]}),
        ("three parts", "parts", [scope, parent, child], STORAGE, 1, {1: "part", 4: b"\0\xff"}),
    ]:
        at, sequence = etcd_key(table, *parts), 300 + len(records)
        value = record(key, at, sequence, form, body)
        records.append(
            {
                "name": name,
                "table": table,
                "parts": parts,
                "sequence": sequence,
                "plaintext": cbor([form, body]).hex(),
                "etcd_key": at.hex(),
                "etcd_value": value.hex(),
                "sha256": hashlib.sha256(value).hexdigest(),
            }
        )
    return {"about": "Records of the store in internal/storetest/known.json.", "records": records}


# ---- what services keep ----


def envelopes():
    key = Key("envelope", version=0x01020304)
    cases = []
    for name, label, plaintext, ad in [
        ("nothing", "l", b"", b""),
        ("one block and a bit", "secret-value", b"seventeen bytes !", b"place"),
        ("long additional data", "store", b"x" * 16, bytes(range(256))),
        ("label beyond the inline buffer", "l" * 130, b"plaintext", b"ad"),
    ]:
        sealed = key.seal(label, plaintext, ad, "envelope " + name)
        salt = sealed[21:37]
        cases.append(
            {
                "name": name,
                "label": label,
                "plaintext": plaintext.hex(),
                "ad": ad.hex(),
                "salt": salt.hex(),
                "message_key": hkdf(key.secret, salt, b"arca/envelope/1\0" + label.encode(), 32).hex(),
                "sealed": sealed.hex(),
            }
        )
    inner = Key("inner", version=9)
    contexts = [{}, {"k": "v"}, {"b": "1", "B": "2", "": "", "ä": "€"}, {f"k{i}": "v" * i for i in range(12)}]
    return {
        "about": "Envelopes of format 1, a wrapped key, and encodings of encryption contexts.",
        "key": key.text(),
        "envelopes": cases,
        "wrapped_key": {
            "inner": inner.text(),
            "ad": b"place".hex(),
            "sealed": key.seal_key(inner, b"place", "wrapped key").hex(),
        },
        "contexts": [{"pairs": c, "encoded": context(c).hex()} for c in contexts],
    }


KMS_KEY = Key("kms key", version=3, id_=bytes.fromhex("1234abcd12ab44cd96ef1234567890ab"))


def kms():
    material_ad = f"{ACCOUNT}/{REGION}/".encode() + KMS_KEY.id + struct.pack(">I", KMS_KEY.version)
    pairs = {"purpose": "known answer", "tenant": "a"}
    blob_ad = f"{ACCOUNT}/{REGION}".encode() + b"\0" + context(pairs)
    data_key = fixed("data key of a service", 32)
    grant = fixed("grant", 32).hex()
    token = PURPOSES["page-token"].seal("page-token", KMS_KEY.id + grant.encode(), b"kms-grant-token", "grant token")
    return {
        "about": "Of the store in internal/storetest/known.json: a KMS key, and what is sealed under it.",
        "account": ACCOUNT,
        "region": REGION,
        "key_id": "1234abcd-12ab-44cd-96ef-1234567890ab",
        "version": KMS_KEY.version,
        "material": PURPOSES["kms"].seal("kms", KMS_KEY.secret, material_ad, "material").hex(),
        "material_id": hashlib.sha256(
            b"kms key material\0" + KMS_KEY.id + struct.pack(">I", KMS_KEY.version)
        ).hexdigest(),
        "context": pairs,
        "plaintext": b"known answer".hex(),
        "blob": KMS_KEY.seal("kms-ciphertext", b"known answer", blob_ad, "blob").hex(),
        "data_key": data_key.hex(),
        "wrapped_data_key": KMS_KEY.seal("kms-data-key", data_key, context(pairs), "wrapped data key").hex(),
        "grant_id": grant,
        "grant_token": base64.urlsafe_b64encode(token).rstrip(b"=").decode(),
    }


def secrets():
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:known/answer-AbCdEf"
    version = "0123456789abcdef0123456789abcdef"
    pairs = {"SecretARN": arn, "SecretVersionId": version}
    # A data key goes by the name of the KMS key that wrapped it first.
    data_key = Key("data key of a secret", version=KMS_KEY.version, id_=KMS_KEY.id)
    return {
        "about": "A value and its data key, which the KMS key of internal/kms/testdata/known.json wraps.",
        "arn": arn,
        "version_id": version,
        "data_key": data_key.text(),
        "plaintext": b"correct horse".hex(),
        "value": data_key.seal("secret-value", b"correct horse", context(pairs), "value").hex(),
        "wrapped_data_key": KMS_KEY.seal("kms-data-key", data_key.secret, context(pairs), "secret's data key").hex(),
    }


def iam():
    access_key, secret = "AKIAKNOWNANSWEREXAMP", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    access_key_ad = b"access-key\0" + ACCOUNT.encode() + b"\0" + access_key.encode()
    session = {
        1: "ASIAKNOWNANSWEREXAMP",
        2: "A secret of forty characters for a token",
        3: ACCOUNT,
        4: "AROAKNOWNANSWEREXAMP",
        5: "worker",
        6: CREATED * 1000,
        7: 253370764800000,  # the year 9999
        8: ["{}"],
        9: ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        10: [{1: "team", 2: "a"}],
        11: ["team"],
        12: "alice",
        13: {1: "arn:aws:iam::123456789012:oidc-provider/issuer.example", 2: [{1: "issuer.example:sub", 2: ["w"]}]},
    }
    token = PURPOSES["session-token"].seal(
        "session-token", cbor(session), b"session\0" + session[1].encode(), "session token"
    )
    return {
        "about": "Of the store in internal/storetest/known.json: a secret access key and a session token.",
        "account": ACCOUNT,
        "access_key_id": access_key,
        "secret": secret,
        "sealed_secret": PURPOSES["iam"].seal("iam", secret.encode(), access_key_ad, "access key").hex(),
        "session_key_id": session[1],
        "session_secret": session[2],
        "session_token": base64.b64encode(token).decode(),
    }


def paging():
    parts = ["ListSecrets", ACCOUNT, "", "äé"]
    question = hashlib.sha256(
        b"".join(struct.pack(">Q", len(p.encode())) + p.encode() for p in parts)
    ).digest()
    token = PURPOSES["page-token"].seal("page-token", b"position 42", question, "page token")
    return {
        "about": "Of the store in internal/storetest/known.json: a page token and the question it is for.",
        "question_parts": parts,
        "question": question.hex(),
        "position": "position 42",
        "token": base64.urlsafe_b64encode(token).rstrip(b"=").decode(),
    }


def rootkey():
    line = f"arca-root-key:1:{ROOT.id.hex()}:" + base64.urlsafe_b64encode(ROOT.secret).rstrip(b"=").decode()
    line += ":" + hashlib.sha256(line.encode()).digest()[:8].hex()
    passphrase, salt = "known answer of a passphrase", fixed("passphrase salt", 16)
    derived = Key("passphrase")
    derived.secret = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, 600_000, 32)
    # The check is bound to the parameters as they are written, without the check itself.
    bound = json.dumps(
        {
            "format": 1,
            "id": derived.id.hex(),
            "kdf": {"name": "pbkdf2-sha512", "salt": base64.b64encode(salt).decode(), "rounds": 600_000},
        },
        separators=(",", ":"),
    )
    check = derived.seal("root key passphrase", b"", bound.encode(), "passphrase check")
    return {
        "about": "A root key file, and the parameters of a root key from a passphrase.",
        "file": line + "\n",
        "file_id": ROOT.id.hex(),
        "file_secret": ROOT.secret.hex(),
        "passphrase": passphrase,
        "passphrase_params": bound[:-1] + ',"check":"' + base64.b64encode(check).decode() + '"}',
        "passphrase_secret": derived.secret.hex(),
    }


# ---- backups ----


def open_envelope(secret, label, sealed, ad):
    header, nonce = sealed[:37], sealed[37:49]
    message_key = hkdf(secret, header[21:37], b"arca/envelope/1\0" + label.encode(), 32)
    return gcm_open(message_key, nonce, sealed[49:], header + ad)


def open_key(secret, sealed, ad):
    return open_envelope(secret, "key", sealed, ad)[20:]


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def open_backup(raw, root_secret=None, passphrase=None):
    """Opens a backup of format 1 and returns the contents of its frames, as CBOR."""
    first, second, third, rest = raw.split(b"\n", 3)
    assert first == b"arca backup, format 1"
    header = json.loads(second)
    if passphrase is not None:
        params = json.loads(base64.b64decode(header["passphrase"]))
        kdf = params["kdf"]
        assert kdf["name"] == "pbkdf2-sha512"
        salt = base64.b64decode(kdf["salt"])
        wrapping = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, kdf["rounds"], 32)
    else:
        ad = context({"use": "kek", "deployment": bytes.fromhex(header["deployment"])})
        wrapping = open_key(root_secret, base64.b64decode(header["root"]["kek"]), ad)
    ad = context({"use": "backup key", "header": first + b"\n" + second + b"\n"})
    secret = open_key(wrapping, base64.b64decode(third), ad)
    contents, last = [], False
    while not last:
        (length,) = struct.unpack(">I", rest[:4])
        frame, rest = rest[: 4 + length], rest[4 + length :]
        assert struct.pack(">I", crc32c(frame[:-4])) == frame[-4:]
        index, last, cursor_length = struct.unpack(">I?H", frame[4:11])
        assert index == len(contents)
        cursor, sealed = frame[11 : 11 + cursor_length], frame[11 + cursor_length : -4]
        ad = context(
            {"use": "backup frame", "index": str(index), "last": "true" if last else "false", "cursor": cursor}
        )
        contents.append(open_envelope(secret, "backup", sealed, ad))
    assert not rest
    return contents


def check_backups(top):
    folder = top / "internal/backup/testdata"
    for name, keys in [
        ("format1-root.backup", {"root_secret": b"\x5a" * 32}),
        ("format1-passphrase.backup", {"passphrase": "open this for ever and ever"}),
    ]:
        contents = open_backup((folder / name).read_bytes(), **keys)
        # The records of the tests, as pieces of CBOR.
        assert all(cbor(f"{table}{i}") in b"".join(contents) for table in "ab" for i in range(5)), name


FILES = {
    "internal/envelope/testdata/known.json": envelopes,
    "internal/storetest/known.json": store,
    "internal/store/testdata/known.json": store_records,
    "internal/kms/testdata/known.json": kms,
    "internal/secrets/testdata/known.json": secrets,
    "internal/iam/testdata/known.json": iam,
    "internal/paging/testdata/known.json": paging,
    "internal/rootkey/testdata/known.json": rootkey,
}


def main():
    check_primitives()
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: known-answers.py [--check]")
    top = pathlib.Path(__file__).resolve().parent.parent
    differ = []
    for name, compute in FILES.items():
        path = top / name
        text = json.dumps(compute(), indent="\t", ensure_ascii=False) + "\n"
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            differ.append(name)
    if check:
        check_backups(top)
    if differ:
        sys.exit("not what is computed: " + ", ".join(differ))


if __name__ == "__main__":
    main()
