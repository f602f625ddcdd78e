"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("host-local", "cni_host_local", "unused")
