"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("macvlan", "cni_macvlan")
