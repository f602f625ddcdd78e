"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("sbr", "cni_sbr")
