"""What the front door starts."""

from cni.skel import Plugin

PLUGIN = Plugin("host-device", "cni_host_device")
