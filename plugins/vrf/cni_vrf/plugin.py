"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("vrf", "cni_vrf")
