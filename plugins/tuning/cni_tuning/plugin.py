"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("tuning", "cni_tuning")
