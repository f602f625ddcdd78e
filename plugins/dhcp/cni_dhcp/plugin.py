"""What the front door starts. The daemon orders the calls for an attachment: a DEL ends an ADD that still waits."""

from cni.skel import Plugin

PLUGIN = Plugin("dhcp", "cni_dhcp", "used", locked=False)
