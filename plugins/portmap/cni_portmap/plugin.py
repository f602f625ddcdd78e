"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("portmap", "cni_portmap", "used")
