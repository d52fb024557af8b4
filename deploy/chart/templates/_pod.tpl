{{/* The pod, without its containers. */}}

{{/* Not beside the helper: its process that asks NVML would find the library twice. */}}
{{- define "supervisor.hasHelper" -}}
{{- $nvidia := .Values.nvidia -}}
{{- if and $nvidia.runtimeClassName (not $nvidia.enabled) }}
{{- fail "nvidia.runtimeClassName: set nvidia.enabled too" }}
{{- end }}
{{- if and $nvidia.driverContainer (or $nvidia.runtimeClassName (not $nvidia.enabled)) }}
{{- fail "nvidia.driverContainer: set nvidia.enabled too, and leave nvidia.runtimeClassName empty, whose runtime finds the driver" }}
{{- end }}
{{- if or .Values.helper.enabled .Values.fpgaProgramming.enabled (include "supervisor.hasDriverRoot" .) }}true{{ end }}
{{- end }}

{{/* Whether the driver's files are mounted from the host. Else a container runtime brings them, or nobody wants them. */}}
{{- define "supervisor.hasDriverRoot" -}}
{{- if and .Values.nvidia.enabled (not .Values.nvidia.runtimeClassName) }}true{{ end }}
{{- end }}

{{/* Whether the cluster's API is asked or told anything. */}}
{{- define "supervisor.asksCluster" -}}
{{- if or .Values.events.enabled .Values.nodeLabels.enabled .Values.nodeCondition }}true{{ end }}
{{- end }}

{{/* The usual ports of API servers, as a rule for what goes out: no policy can name the server itself. */}}
{{- define "supervisor.apiServer" -}}
- ports:
    - {protocol: TCP, port: 443}
    - {protocol: TCP, port: 6443}
{{- end }}

{{/* As far as possible the next pod is ready before the last one is told to go. Two cannot have one port of the node. */}}
{{- define "supervisor.updateStrategy" -}}
{{- if .Values.updateStrategy }}
{{- toYaml .Values.updateStrategy }}
{{- else if .Values.hostNetwork.enabled -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 0, maxUnavailable: 1}
{{- else -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- end }}
{{- end }}

{{/* Where pods run and how they get there. */}}
{{- define "supervisor.placement" -}}
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  {{- merge (dict "kubernetes.io/os" "linux") .Values.nodeSelector | toYaml | nindent 2 }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The kubelet's directories belong to root. No capability comes with the number. */}}
{{- define "supervisor.podSecurity" -}}
runAsUser: 0
runAsGroup: 0
seccompProfile: {type: RuntimeDefault}
{{- if or .Values.selinux.enabled .Values.openshift.enabled }}
seLinuxOptions: {type: {{ .Values.selinux.type }}, level: {{ .Values.selinux.level | quote }}}
{{- end }}
{{- end }}

{{- define "supervisor.volumes" -}}
- name: config
  configMap: {name: {{ include "supervisor.fullname" . }}}
- name: device-plugins
  hostPath: {path: {{ .Values.kubelet.devicePluginsDir | quote }}, type: Directory}
- name: pod-resources
  hostPath: {path: {{ .Values.kubelet.podResourcesDir | quote }}, type: DirectoryOrCreate}
- name: dev
  hostPath: {path: /dev, type: Directory}
- name: nothing
  emptyDir: {sizeLimit: 1Mi}
- name: run-udev
  hostPath: {path: /run/udev, type: DirectoryOrCreate}
{{- range $tree := include "supervisor.sysfs" . | fromYamlArray }}
- name: sys-{{ $tree }}
  hostPath: {path: /sys/{{ $tree }}, type: Directory}
{{- end }}
{{- if include "supervisor.hasHelper" . }}
- name: helper-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- if include "supervisor.hasDriverRoot" . }}
- name: driver-root
  hostPath: {path: /, type: Directory}
- name: driver-usr
  hostPath: {path: /usr, type: Directory}
- name: driver-lib
  hostPath: {path: /lib, type: Directory}
{{- end }}
{{- if .Values.nvidia.driverContainer }}
- name: run-nvidia
  hostPath: {path: /run/nvidia, type: DirectoryOrCreate}
{{- end }}
{{- if .Values.fpgaProgramming.enabled }}
- name: bitstreams
  hostPath: {path: /var/lib/device-plugin-supervisor/bitstreams, type: DirectoryOrCreate}
- name: fpga-locks
  hostPath: {path: /run/device-plugin-supervisor/fpga, type: DirectoryOrCreate}
{{- end }}
{{- if .Values.cdi.enabled }}
- name: cdi-label
  configMap: {name: {{ include "supervisor.fullname" . }}-cdi}
- name: cdi
  hostPath: {path: /var/run/cdi, type: DirectoryOrCreate}
- name: device-info
  hostPath: {path: /var/run/k8s.cni.cncf.io/devinfo/dp, type: DirectoryOrCreate}
{{- end }}
{{- with .Values.http.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- with .Values.http.auth.secretName }}
- name: auth
  secret: {secretName: {{ . }}, defaultMode: 0400}
{{- end }}
{{- if include "supervisor.asksCluster" . }}
{{- /* What automountServiceAccountToken would put into every container, for the supervisor alone. Not for 3607 seconds: API
       servers would let that one live for a year. */}}
- name: api-access
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
