{{/* The fields of OpenShift's constraints that follow from what a pod asks for. Of a dict: root, account, and whether helper, label
     and hostNetwork are asked for. */}}
{{- define "supervisor.constraints" -}}
allowHostDirVolumePlugin: true
allowHostIPC: false
allowHostNetwork: {{ .hostNetwork }}
allowHostPID: false
allowHostPorts: {{ .hostNetwork }}
allowPrivilegeEscalation: {{ .helper }}
allowPrivilegedContainer: {{ .helper }}
allowedCapabilities: []
defaultAddCapabilities: []
defaultAllowPrivilegeEscalation: false
fsGroup: {type: RunAsAny}
groups: []
priority: null
readOnlyRootFilesystem: true
requiredDropCapabilities: {{ ternary "[]" "[ALL]" .helper }}
runAsUser: {type: MustRunAs, uid: 0}
{{- if or .helper .label }}
seLinuxContext: {type: RunAsAny}
{{- else }}
seLinuxContext:
  type: MustRunAs
  seLinuxOptions: {type: {{ .root.Values.selinux.type }}, level: {{ .root.Values.selinux.level | quote }}}
{{- end }}
seccompProfiles: [runtime/default]
supplementalGroups: {type: RunAsAny}
users: ["system:serviceaccount:{{ include "supervisor.namespace" .root }}:{{ .account }}"]
volumes: [configMap, emptyDir, hostPath, projected, secret]
{{- end }}
