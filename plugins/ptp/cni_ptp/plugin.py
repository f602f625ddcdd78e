"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("ptp", "cni_ptp")
