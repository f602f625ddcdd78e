"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("vlan", "cni_vlan")
