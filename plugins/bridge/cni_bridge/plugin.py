"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("bridge", "cni_bridge")
