"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("ipvlan", "cni_ipvlan")
