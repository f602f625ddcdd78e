"""The part of the CRI (runtime.v1) that pods need, over gRPC. The messages are described here field by field."""

import json
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_STRING, _UINT32, _INT32, _BOOL, _INT64 = "string", "uint32", "int32", "bool", "int64"
# the CRI's numbers of the protocols
_PROTOCOLS = {"tcp": 0, "udp": 1, "sctp": 2}
# message -> field -> (number, type); a type with a capital letter is another message of this table
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "VersionRequest": {"version": (1, _STRING)},
    "VersionResponse": {"runtime_name": (2, _STRING), "runtime_version": (3, _STRING)},
    "PodSandboxMetadata": {
        "name": (1, _STRING),
        "uid": (2, _STRING),
        "namespace": (3, _STRING),
        "attempt": (4, _UINT32),
    },
    "LinuxPodSandboxConfig": {"cgroup_parent": (1, _STRING)},
    "PortMapping": {
        "protocol": (1, _INT32),
        "container_port": (2, _INT32),
        "host_port": (3, _INT32),
        "host_ip": (4, _STRING),
    },
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"),
        "hostname": (2, _STRING),
        "log_directory": (3, _STRING),
        "port_mappings": (5, "repeated PortMapping"),
        "annotations": (7, "repeated InfoEntry"),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig")},
    "RunPodSandboxResponse": {"pod_sandbox_id": (1, _STRING)},
    "StopPodSandboxRequest": {"pod_sandbox_id": (1, _STRING)},
    "StopPodSandboxResponse": {},
    "RemovePodSandboxRequest": {"pod_sandbox_id": (1, _STRING)},
    "RemovePodSandboxResponse": {},
    "PodSandboxStatusRequest": {"pod_sandbox_id": (1, _STRING), "verbose": (2, _BOOL)},
    "PodIP": {"ip": (1, _STRING)},
    "PodSandboxNetworkStatus": {"ip": (1, _STRING), "additional_ips": (2, "repeated PodIP")},
    "PodSandboxStatus": {
        "id": (1, _STRING),
        "metadata": (2, "PodSandboxMetadata"),
        "state": (3, _UINT32),
        "network": (5, "PodSandboxNetworkStatus"),
    },
    # a map on the wire is a list of entries with key and value
    "InfoEntry": {"key": (1, _STRING), "value": (2, _STRING)},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus"), "info": (2, "repeated InfoEntry")},
    "StatusRequest": {"verbose": (1, _BOOL)},
    "RuntimeCondition": {"type": (1, _STRING), "status": (2, _BOOL), "reason": (3, _STRING), "message": (4, _STRING)},
    "RuntimeStatus": {"conditions": (1, "repeated RuntimeCondition")},
    "StatusResponse": {"status": (1, "RuntimeStatus"), "info": (2, "repeated InfoEntry")},
}


def _classes() -> dict[str, type[Message]]:
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {
        _STRING: field_type.TYPE_STRING,
        _UINT32: field_type.TYPE_UINT32,
        _INT32: field_type.TYPE_INT32,
        _BOOL: field_type.TYPE_BOOL,
        _INT64: field_type.TYPE_INT64,
    }
    file = descriptor_pb2.FileDescriptorProto(name="pods.proto", package="runtime.v1", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, stated) in fields.items():
            label = field_type.LABEL_REPEATED if stated.startswith("repeated ") else field_type.LABEL_OPTIONAL
            kind = stated.removeprefix("repeated ")
            if kind in scalars:
                message.field.add(name=field, number=number, label=label, type=scalars[kind])
            else:
                message.field.add(
                    name=field,
                    number=number,
                    label=label,
                    type=field_type.TYPE_MESSAGE,
                    type_name=f".runtime.v1.{kind}",
                )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call, unused-ignore]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"runtime.v1.{name}"))  # type: ignore[no-untyped-call, unused-ignore]
        for name in MESSAGES
    }


class RuntimeService:
    """A client of the CRI's runtime service; every call has a time limit."""

    def __init__(self, socket: Path, logs: Path, cgroup: str, seconds: float = 60) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._classes = _classes()
        self._logs, self._cgroup, self._seconds = logs, cgroup, seconds

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def call(self, method: str, **fields: Any) -> Any:
        """One call with the fields of its request; the answer is a protobuf message."""
        request, response = self._classes[f"{method}Request"], self._classes[f"{method}Response"]
        remote = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{method}",
            request_serializer=lambda message: cast(Message, message).SerializeToString(),
            response_deserializer=lambda data: response.FromString(data),
        )
        return remote(request(**fields), timeout=self._seconds)

    def network_ready(self) -> bool:
        """Whether the runtime answers and has a network configuration."""
        try:
            answer = self.call("Status")
        except grpc.RpcError:
            return False
        return any(one.type == "NetworkReady" and one.status for one in answer.status.conditions)

    def configuration(self) -> Any:
        """What the runtime has loaded from its network folder, as its Go library shows it."""
        answer = self.call("Status", verbose=True)
        return json.loads(next(entry.value for entry in answer.info if entry.key == "cniconfig"))

    def run_pod(self, name: str, *ports: dict[str, Any], **annotations: str) -> str:
        """Start a pod sandbox with published ports, each as the capability ``portMappings`` has it; its id.

        ``annotations`` are Kubernetes' own, without ``kubernetes.io/`` and with ``_`` for ``-``.
        """
        config: dict[str, Any] = {"hostname": name, "log_directory": str(self._logs)}
        config["metadata"] = {"name": name, "uid": f"uid-{name}", "namespace": "default", "attempt": 0}
        config["port_mappings"] = [
            {
                "protocol": _PROTOCOLS[port["protocol"]],
                "container_port": port["containerPort"],
                "host_port": port["hostPort"],
                "host_ip": port.get("hostIP", ""),
            }
            for port in ports
        ]
        config["annotations"] = [
            {"key": f"kubernetes.io/{key.replace('_', '-')}", "value": value} for key, value in annotations.items()
        ]
        config["linux"] = {"cgroup_parent": self._cgroup}
        return str(self.call("RunPodSandbox", config=config).pod_sandbox_id)

    def pod_status(self, pod: str) -> tuple[list[str], str]:
        """The addresses that the runtime reports for a pod, and the path of its network namespace."""
        network = self.call("PodSandboxStatus", pod_sandbox_id=pod).status.network
        namespaces = self.pod_info(pod)["runtimeSpec"]["linux"]["namespaces"]
        netns = next(one["path"] for one in namespaces if one["type"] == "network")
        return [address for address in (network.ip, *(more.ip for more in network.additional_ips)) if address], netns

    def pod_info(self, pod: str) -> Any:
        """All that the runtime tells of a pod: among it ``cniResult``, as its Go library shows it."""
        answer = self.call("PodSandboxStatus", pod_sandbox_id=pod, verbose=True)
        return json.loads(next(entry.value for entry in answer.info if entry.key == "info"))

    def pod_ready(self, pod: str) -> bool:
        """Whether a pod sandbox's own process runs."""
        return bool(self.call("PodSandboxStatus", pod_sandbox_id=pod).status.state == 0)

    def stop_pod(self, pod: str) -> None:
        """Stop a pod sandbox: DEL is called here."""
        self.call("StopPodSandbox", pod_sandbox_id=pod)

    def remove_pod(self, pod: str) -> None:
        """Remove a pod sandbox."""
        self.call("RemovePodSandbox", pod_sandbox_id=pod)
