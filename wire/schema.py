"""How a Kafka message is declared: once, as a typed class.

    class FetchRequest(Request, api_key=1, versions="4-18", flexible="12+"):
        class FetchTopic(Structure):
            topic: str = string("0-12", ignorable=True)
            topic_id: UUID = uuid("13+", ignorable=True)

        max_wait_ms: int = int32()
        topics: list[FetchTopic] = array(FetchTopic)

A field is an annotated attribute whose value is one of the specifiers below (`int32`, `string`, `array` ...).
A specifier says on which versions the field exists, and what else Kafka's message definitions say about it:

- `versions`: "4-18", "12+" or "3"; every version of the message when left out.
- `default`: the value of a field that a version does not have, or that the constructor is not given. Left out,
  it is 0, False, "", b"", the zero UUID, an empty list, or a structure of defaults.
- `nullable`: the versions on which null may stand (the `nullable_...` specifiers only; all when left out).
- `tag`: the field is a tagged field (KIP-482): optional, absent from the bytes while it holds its default.
- `ignorable`: a value other than the default is dropped without complaint when the version lacks the field.

Messages and their structures are mutable, have slots, are constructed by keyword, and compare by value.
What a declaration means in bytes stands in `wire.primitives` (as construct constructs) and in `wire.compiler`
(which turns the construct of one version into straight-line Python at its first use).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, dataclass_transform
from uuid import UUID

from wire.errors import ProtocolError

if TYPE_CHECKING:
    import construct

    from wire.compiler import Decoder, Encoder

T = TypeVar("T")

ZERO_UUID = UUID(int=0)

Versions = tuple[int, int]
"""The first and the last version of a range, both inclusive; empty when the first is the greater."""

ALL_VERSIONS: Versions = (0, 32767)
NO_VERSIONS: Versions = (1, 0)

Buffer = bytes | bytearray | memoryview
"""What messages are decoded from. A memoryview must be one-dimensional, contiguous and of bytes."""


class Payload(Protocol):
    """Records that are not in memory, such as a slice of a log file: `encode_parts` passes it on as it is."""

    def __len__(self) -> int: ...

    def read(self) -> bytes:
        """All of it, `len(self)` bytes; only called where somebody wants the message as one piece of bytes."""


Part = bytes | bytearray | memoryview | Payload
"""One piece of an encoded message. The pieces in order are the message."""


@cache
def parse_versions(text: str) -> Versions:
    """Read "4-18", "12+", "3" or "none"."""
    if text == "none":
        return NO_VERSIONS
    if text.endswith("+"):
        return int(text[:-1]), ALL_VERSIONS[1]
    first, _, last = text.partition("-")
    return int(first), int(last or first)


class Field:
    """What one specifier said about one attribute of a structure.

    `kind` is Kafka's name of the type ("int32", "string", "records", "array", "structure" ...). `element` is the
    `Field` of an array's primitive elements, or the structure class of an array or structure (or its name, when
    it could not be referred to yet: `element_class` finds it).
    """

    __slots__ = (
        "compact",
        "default",
        "element",
        "ignorable",
        "kind",
        "name",
        "nullable_versions",
        "tag",
        "versions",
    )

    def __init__(
        self,
        kind: str,
        versions: str | None,
        default: Any,
        ignorable: bool,
        tag: int | None,
        *,
        nullable: str | bool = False,
        element: Any = None,
        compact: bool = True,
    ) -> None:
        self.name = ""
        self.kind = kind
        self.versions = ALL_VERSIONS if versions is None else parse_versions(versions)
        self.default = default
        self.ignorable = ignorable
        self.tag = tag
        if nullable is True:
            self.nullable_versions = ALL_VERSIONS
        else:
            self.nullable_versions = parse_versions(nullable) if nullable else NO_VERSIONS
        self.element = element
        self.compact = compact

    def in_version(self, version: int) -> bool:
        """Whether the field exists on this version of the message."""
        return self.versions[0] <= version <= self.versions[1]

    def nullable_in(self, version: int) -> bool:
        """Whether null may stand for the value on this version."""
        return self.nullable_versions[0] <= version <= self.nullable_versions[1]

    @property
    def default_is_built(self) -> bool:
        """Whether every structure needs a default of its own: an empty list or a structure of defaults."""
        return self.default is not None and self.kind in ("array", "structure")

    def element_class(self, owner: type[Structure]) -> type[Structure]:
        """The structure class of this array or structure field, which `owner` declares.

        Raises AttributeError when the declaration names a class that does not exist.
        """
        if isinstance(self.element, str):
            message: Any = owner
            outermost = owner.__qualname__.partition(".")[0]
            if outermost != owner.__qualname__:
                from sys import modules

                message = getattr(modules[owner.__module__], outermost)
            self.element = getattr(message, self.element)
        found: type[Structure] = self.element
        return found


# The specifiers. Each returns a Field to the class body, but is typed as the value that the attribute will hold,
# so that type checkers see `max_wait_ms: int = int32()` as an int with a default.


def int8(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """A signed byte."""
    field: Any = Field("int8", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def int16(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """A signed 16-bit integer; also every error code."""
    field: Any = Field("int16", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def int32(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """A signed 32-bit integer."""
    field: Any = Field("int32", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def int64(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """A signed 64-bit integer."""
    field: Any = Field("int64", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def uint16(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """An unsigned 16-bit integer, such as a port."""
    field: Any = Field("uint16", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def uint32(
    versions: str | None = None, *, default: int = 0, ignorable: bool = False, tag: int | None = None
) -> int:
    """An unsigned 32-bit integer, such as a checksum."""
    field: Any = Field("uint32", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def float64(
    versions: str | None = None, *, default: float = 0.0, ignorable: bool = False, tag: int | None = None
) -> float:
    """An IEEE 754 double."""
    field: Any = Field("float64", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def boolean(
    versions: str | None = None, *, default: bool = False, ignorable: bool = False, tag: int | None = None
) -> bool:
    """One byte: false is 0; any other value reads as true, and 1 is written."""
    field: Any = Field("bool", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def uuid(
    versions: str | None = None, *, default: UUID = ZERO_UUID, ignorable: bool = False, tag: int | None = None
) -> UUID:
    """16 bytes."""
    field: Any = Field("uuid", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def string(
    versions: str | None = None, *, default: str = "", ignorable: bool = False, tag: int | None = None
) -> str:
    """UTF-8, at most 32,767 bytes."""
    field: Any = Field("string", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def nullable_string(
    versions: str | None = None,
    *,
    nullable: str | None = None,
    default: str | None = "",
    ignorable: bool = False,
    tag: int | None = None,
    compact: bool = True,
) -> str | None:
    """A string or null. With `compact=False` it keeps its two-byte length on flexible versions, too."""
    field: Any = Field(
        "string", versions, default, ignorable, tag, nullable=nullable or True, compact=compact
    )
    return field  # type: ignore[no-any-return]


def binary(
    versions: str | None = None, *, default: bytes = b"", ignorable: bool = False, tag: int | None = None
) -> bytes:
    """Kafka's `bytes`: any bytes, decoded to a `bytes` of their own."""
    field: Any = Field("bytes", versions, default, ignorable, tag)
    return field  # type: ignore[no-any-return]


def nullable_binary(
    versions: str | None = None,
    *,
    nullable: str | None = None,
    default: bytes | None = b"",
    ignorable: bool = False,
    tag: int | None = None,
) -> bytes | None:
    """Bytes or null."""
    field: Any = Field("bytes", versions, default, ignorable, tag, nullable=nullable or True)
    return field  # type: ignore[no-any-return]


def records(versions: str | None = None, *, nullable: str | None = None, ignorable: bool = False) -> Any:
    """Record batches, which are not looked into; null (on the `nullable` versions: all, if not given) is None.

    Decodes to a memoryview of the buffer that was decoded, so that nothing is copied and the batches can be
    edited in place when the buffer is a bytearray. Takes anything bytes-like, or a `Payload`.
    """
    return Field("records", versions, None, ignorable, None, nullable=nullable or True)


def array(
    element: Callable[..., T] | str,
    versions: str | None = None,
    *,
    ignorable: bool = False,
    tag: int | None = None,
) -> list[T]:
    """A list of structures (`array(FetchTopic)`) or of primitives (`array(int32)`).

    A structure class that the message declares for several of its structures is referred to by name
    (`array("TopicPartitions")`), because the body of a nested class does not see it.
    """
    field: Any = Field("array", versions, (), ignorable, tag, element=_array_element(element))
    return field  # type: ignore[no-any-return]


def nullable_array(
    element: Callable[..., T] | str,
    versions: str | None = None,
    *,
    nullable: str | None = None,
    default: tuple[()] | None = (),
    ignorable: bool = False,
    tag: int | None = None,
) -> list[T] | None:
    """A list or null; `default` is None, or an empty list when left out."""
    field: Any = Field(
        "array", versions, default, ignorable, tag, nullable=nullable or True, element=_array_element(element)
    )
    return field  # type: ignore[no-any-return]


def structure(
    element: Callable[..., T] | str,
    versions: str | None = None,
    *,
    ignorable: bool = False,
    tag: int | None = None,
) -> T:
    """One structure; by default one of defaults."""
    field: Any = Field("structure", versions, (), ignorable, tag, element=element)
    return field  # type: ignore[no-any-return]


def nullable_structure(
    element: Callable[..., T] | str,
    versions: str | None = None,
    *,
    nullable: str | None = None,
    default: tuple[()] | None = (),
    ignorable: bool = False,
    tag: int | None = None,
) -> T | None:
    """One structure or null (KIP-893); `default` is None, or a structure of defaults when left out."""
    field: Any = Field(
        "structure", versions, default, ignorable, tag, nullable=nullable or True, element=element
    )
    return field  # type: ignore[no-any-return]


def _array_element(element: Any) -> Any:
    return element if isinstance(element, (type, str)) else element()


@dataclass_transform(kw_only_default=True)
class StructureType(type):
    """Turns the fields of a class body into slots, and remembers them as `__fields__`."""

    __fields__: tuple[Field, ...]

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any
    ) -> StructureType:
        fields = [(key, value) for key, value in namespace.items() if isinstance(value, Field)]
        for key, field in fields:
            field.name = key
            del namespace[key]
        namespace["__slots__"] = tuple(key for key, _ in fields)
        namespace["__fields__"] = tuple(field for _, field in fields)
        return super().__new__(cls, name, bases, namespace, **keywords)


class Structure(metaclass=StructureType):
    """A group of fields inside a message. Subclasses are nested in the structure that uses them."""

    if not TYPE_CHECKING:

        def __init__(self, **values: Any) -> None:
            # Most classes of a run are never constructed by name, so a class gets its constructor at first use.
            build_constructor(type(self))
            self.__init__(**values)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in type(self).__fields__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{field.name}={_short(getattr(self, field.name))}" for field in type(self).__fields__
        )
        return f"{type(self).__qualname__}({shown})"


def _short(value: object) -> str:
    """Payloads do not belong into logs: bytes are shown by their length only."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    return repr(value)


def build_constructor(cls: type[Structure]) -> None:
    """Give the class an `__init__` of its own: keyword-only, every field with Kafka's default."""
    names: dict[str, Any] = {"_missing": object()}
    parameters = []
    body = []
    for field in cls.__fields__:
        name = field.name
        if not field.default_is_built:
            names[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
            body.append(f"self.{name} = {name}")
            continue
        parameters.append(f"{name}=_missing")
        if field.kind == "array":
            built = "[]"
        else:
            names[f"_class_{name}"] = field.element_class(cls)
            built = f"_class_{name}()"
        body.append(f"self.{name} = {built} if {name} is _missing else {name}")
    signature = ", ".join(["self", "*", *parameters] if parameters else ["self"])
    source = f"def __init__({signature}):\n    " + "\n    ".join(body or ["pass"])
    exec(compile(source, f"<constructor of {cls.__qualname__}>", "exec"), names)
    cls.__init__ = names["__init__"]  # type: ignore[method-assign]


class Message(Structure):
    """A structure that can be encoded and decoded by itself, on each of its versions."""

    min_version: ClassVar[int]
    max_version: ClassVar[int]
    flexible_version: ClassVar[int | None]
    """The first version with compact lengths and tagged fields (KIP-482); None if there is none."""

    elements_max: ClassVar[int] = 1 << 23
    """How many array elements one message may decode to in all: a frame of tiny elements would otherwise
    take many times its own size in memory."""

    decoded_in_place: ClassVar[bool] = False
    """Whether much more may follow in the buffer, as behind a header: the buffer is then not copied to be read.

    Messages with records are always decoded in place.
    """

    _decoders: ClassVar[dict[int, Decoder]]
    _encoders: ClassVar[dict[int, Encoder]]

    def __init_subclass__(
        cls, *, versions: str | None = None, flexible: str = "none", **keywords: Any
    ) -> None:
        super().__init_subclass__(**keywords)
        if versions is not None:
            cls.min_version, cls.max_version = parse_versions(versions)
            first_flexible = parse_versions(flexible)
            cls.flexible_version = None if first_flexible == NO_VERSIONS else first_flexible[0]
            cls._decoders = {}
            cls._encoders = {}

    @classmethod
    def is_flexible(cls, version: int) -> bool:
        """Whether this version has compact lengths and tagged fields."""
        return cls.flexible_version is not None and version >= cls.flexible_version

    @classmethod
    def struct(cls, version: int) -> construct.Struct:
        """The construct of one version, built anew: it parses to containers and builds from them.

        Raises ProtocolError when the message does not have the version.
        """
        from wire.primitives import message_struct

        return message_struct(cls, version)

    @classmethod
    def decode(cls, buffer: Buffer, version: int) -> Self:
        """Read a message that fills the whole buffer.

        Raises ProtocolError when the bytes are anything else, or when the message does not have the version.
        """
        decoder = cls._decoders.get(version) or cls._compile_decoder(version)
        message, end = decoder(buffer, 0)
        if end != len(buffer):
            raise ProtocolError(f"{len(buffer) - end} bytes too many after {cls.__name__} version {version}")
        return message  # type: ignore[no-any-return]

    @classmethod
    def decode_from(cls, buffer: Buffer, version: int, offset: int) -> tuple[Self, int]:
        """Read a message that begins at `offset`; return it and the offset of the first byte behind it.

        Raises ProtocolError as `decode` does.
        """
        decoder = cls._decoders.get(version) or cls._compile_decoder(version)
        return decoder(buffer, offset)

    @classmethod
    def _compile_decoder(cls, version: int) -> Decoder:
        from wire.compiler import compile_decoder

        decoder = cls._decoders[version] = compile_decoder(cls, version)
        return decoder

    def encode(self, version: int) -> bytes:
        """The message as one piece of bytes.

        Raises EncodeError when a value is out of range, too long or null where it must not be, and
        UnsupportedFieldError when a field that is not ignorable was set but does not exist on this version.
        """
        encoder = self._encoders.get(version) or self._compile_encoder(version)
        pieces = encoder(self, [])
        try:
            return b"".join(pieces)  # type: ignore[arg-type]
        except TypeError:  # a payload among them
            return b"".join([_in_memory(piece) for piece in pieces])

    def encode_parts(self, version: int) -> list[Part]:
        """The message in pieces, for scattered writes: payloads and long bytes stay as they are, uncopied.

        Raises as `encode` does.
        """
        encoder = self._encoders.get(version) or self._compile_encoder(version)
        own: list[int] = []
        pieces = encoder(self, own)
        if not own:
            return [b"".join(pieces)]  # type: ignore[arg-type]
        parts: list[Part] = []
        start = 0
        for index in own:
            parts.append(b"".join(pieces[start:index]))  # type: ignore[arg-type]
            parts.append(pieces[index])
            start = index + 1
        if start < len(pieces):
            parts.append(b"".join(pieces[start:]))  # type: ignore[arg-type]
        return parts

    @classmethod
    def _compile_encoder(cls, version: int) -> Encoder:
        from wire.compiler import compile_encoder

        encoder = cls._encoders[version] = compile_encoder(cls, version)
        return encoder


def _in_memory(part: Part) -> bytes | bytearray | memoryview:
    return part if isinstance(part, bytes | bytearray | memoryview) else part.read()


class Request(Message):
    """The body of a request; its header is in `wire.headers`."""

    api_key: ClassVar[int]
    response_class: ClassVar[type[Response]]

    elements_max = 1 << 20

    def __init_subclass__(cls, *, api_key: int, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.api_key = api_key


class Response(Message):
    """The body of a response; its header is in `wire.headers`."""

    api_key: ClassVar[int]

    def __init_subclass__(cls, *, api_key: int, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.api_key = api_key


class _ResponseClass:
    """`SomeRequest.response_class`, found when asked for: the class is declared after its request."""

    def __get__(self, _: object, owner: type[Request]) -> type[Response]:
        from wire.messages import response_class

        return response_class(owner.api_key)


Request.response_class = _ResponseClass()  # type: ignore[assignment]


class InternalRecord(Message):
    """A record of an internal topic or file: its first two bytes say which version follows."""

    def encode_versioned(self, version: int) -> bytes:
        """The version, then the message. Raises EncodeError as `encode` does."""
        return version.to_bytes(2, "big") + self.encode(version)

    @classmethod
    def decode_versioned(cls, buffer: Buffer) -> tuple[int, Self]:
        """The version that the first two bytes name, and the message.

        Raises ProtocolError when the version is unknown or the rest is not such a message.
        """
        version = read_version_prefix(buffer)
        message, end = cls.decode_from(buffer, version, 2)
        if end != len(buffer):
            raise ProtocolError(f"{len(buffer) - end} bytes too many after {cls.__name__} version {version}")
        return version, message


class CoordinatorKey(InternalRecord):
    """The key of a coordinator's record: its first two bytes say which type of record it is.

    Keys have one version only. The value of such a record is an `InternalRecord`.
    """

    record_type: ClassVar[int]

    def __init_subclass__(cls, *, record_type: int, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.record_type = record_type

    def encode_versioned(self, version: int = 0) -> bytes:
        """The record type, then the key."""
        return self.record_type.to_bytes(2, "big") + self.encode(version)

    @classmethod
    def decode_versioned(cls, buffer: Buffer) -> tuple[int, Self]:
        """The version, which is 0, and the key. Raises ProtocolError when the record type is another one."""
        record_type = read_version_prefix(buffer)
        if record_type != cls.record_type:
            raise ProtocolError(f"record type {record_type} is not {cls.__name__}")
        message, end = cls.decode_from(buffer, 0, 2)
        if end != len(buffer):
            raise ProtocolError(f"{len(buffer) - end} bytes too many after {cls.__name__}")
        return 0, message


def read_version_prefix(buffer: Buffer) -> int:
    """The signed 16-bit integer in the first two bytes. Raises ProtocolError when there are fewer."""
    if len(buffer) < 2:
        raise ProtocolError(f"{len(buffer)} bytes are too short for a version")
    return int.from_bytes(buffer[:2], "big", signed=True)
