"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("firewall", "cni_firewall", "unused")
