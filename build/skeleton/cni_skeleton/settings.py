"""skeleton's configuration: one row a key."""

from cni.settings import Section, key, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

# What the kernel takes is 255 bytes (IFALIASZ, with a zero byte at the end).
_WORDS_MAX = 200


def _fault(words: str) -> str:
    if "\0" in words or len(words.encode("utf-8", "replace")) > _WORDS_MAX:
        return f"words must have at most {_WORDS_MAX} bytes, and no zero byte"
    return ""


class Settings(Section):
    """The keys."""

    words: str = key("words", string, "", "put into the alias of the container's interface; empty: no alias", _fault)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call.config)
