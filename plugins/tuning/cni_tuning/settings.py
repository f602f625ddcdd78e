"""tuning's configuration: one row for each key. A key in ``args.cni`` replaces the one of the configuration."""

from cni.errors import InvalidConfig
from cni.linksettings import LinkSettings, mtu_fault, requested_mac
from cni.names import check_made
from cni.settings import Section, boolean, integer, key, mapping, member, part, string, within
from cni.wire import repeated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call


class Settings(Section):
    """The keys of the configuration, with those of ``args.cni``; None for a key that is absent."""

    # fmt: off
    sysctl: dict[str, str] | None = key(
        "sysctl", mapping(string), None, "sysctls below `net` of the container, in the order in which they are written; "
        "`IFNAME` stands for the interface's name")
    mac: str | None = key("mac", string, None, "MAC of the interface")
    promisc: bool | None = key("promisc", boolean, None, "`true`: the interface also receives frames for others")
    mtu: int | None = key("mtu", integer, None, "MTU of the interface; 0: as it is", mtu_fault)
    allmulti: bool | None = key("allmulti", boolean, None, "whether the interface receives all multicast frames")
    queue: int | None = key(
        "txQLen", integer, None, "how many packets wait to be sent, at most",
        within(0, 0xFFFFFFFF, "txQLen is %d, and must be from 0 to 4294967295"))
    folder: str = key("dataDir", string, "", "folder for the original values, by default `/run/cni/tuning`")
    # fmt: on

    def __init__(self, call: "Call") -> None:
        """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``."""
        check_made(call.attachment.ifname)
        super().__init__(call.config)
        if "\0" in self.folder:
            raise InvalidConfig("dataDir has a zero byte", 'change key "dataDir"')
        given = self.TABLE(part(part(call.config, "args", member), "cni", member), "args.cni")
        self.sysctl = {**(self.sysctl or {}), **(given["sysctl"] or {})}
        replaced = ("promisc", "mtu", "allmulti", "queue")
        vars(self).update({name: given[name] for name in replaced if given[name] is not None})
        self.mac = requested_mac(call, self.mac or "", LinkSettings.mac_refusal)
        # what the interface gets, in Go's order, by the names in the files of Go's tuning
        link = {"mac": self.mac or None, "promisc": self.promisc or None, "mtu": self.mtu or None}
        link |= {"allmulti": self.allmulti, "txQLen": self.queue}
        self.link: dict[str, str | int | bool] = {name: value for name, value in link.items() if value is not None}
        self.paths = _paths(self.sysctl, call.attachment.ifname) if self.sysctl else {}


def _paths(sysctl: dict[str, str], ifname: str) -> dict[str, str]:
    """The values by their paths. Of two keys for one path the later one counts."""
    from cni.sysctls import path_of

    return {path_of(name, ifname): value for name, value in sysctl.items()}


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment``, ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    settings = Settings(call)
    if settings.sysctl:
        if twice := repeated(call.stdin, "sysctl"):
            raise InvalidConfig("duplicated sysctl keys are not allowed", f'"{twice}" is there twice')
        if call.verb != "CHECK":
            from cni_tuning.allowlist import check

            check(settings.sysctl, call.site.node.roots.etc)
    return settings
