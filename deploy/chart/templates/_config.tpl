{{/* The configuration file. */}}

{{/* What is mounted where, and who may see it, is for other values to say: those two would not agree for long. */}}
{{- define "supervisor.refusedConfig" -}}
{{- $cures := dict
      "kubelet" "set kubelet.devicePluginsDir and kubelet.podResourcesDir instead, which mount the directories too"
      "http" "set http.port, http.tls and http.auth instead, which the probes and the network policy follow"
      "kubernetes" "set events.enabled, nodeLabels.enabled and nodeCondition instead, which give the permissions too"
}}
{{- range $section, $cure := $cures }}
{{- if hasKey $.Values.config $section }}
{{- fail (printf "config.%s: %s" $section $cure) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "supervisor.httpConfig" -}}
{{- $http := .Values.http -}}
listen: {{ printf ":%v" $http.port | quote }}
{{- if $http.tls.secretName }}
tls:
  certFile: {{ include "supervisor.secrets" . }}/tls/tls.crt
  keyFile: {{ include "supervisor.secrets" . }}/tls/tls.key
{{- end }}
{{- if $http.auth.secretName }}
{{- if not $http.tls.secretName }}
{{- fail "http.auth: anybody on the way could read a token sent over plain HTTP: set http.tls.secretName too" }}
{{- end }}
{{- if not (or $http.auth.tokenKey $http.auth.clientCaKey) }}
{{- fail "http.auth: set tokenKey, clientCaKey or both, or leave secretName empty to let everyone see everything" }}
{{- end }}
auth:
  {{- with $http.auth.tokenKey }}
  bearerTokenFile: {{ include "supervisor.secrets" $ }}/auth/{{ . }}
  {{- end }}
  {{- with $http.auth.clientCaKey }}
  clientCaFile: {{ include "supervisor.secrets" $ }}/auth/{{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "supervisor.kubernetesConfig" -}}
events: {{ .Values.events.enabled }}
nodeCondition: {{ .Values.nodeCondition | quote }}
nodeInfo: {{ .Values.nodeLabels.enabled }}
{{- end }}

{{/* Off unless it is wanted: NVIDIA's own plugin may serve the nodes, and two of them register the same names. */}}
{{- define "supervisor.nvidiaSection" -}}
{{- $plugins := .Values.config.plugins | default dict }}
{{- $said := hasKey (get $plugins "nvidia-gpu" | default dict) "enabled" }}
{{- if and (hasKey $plugins "nvidia-gpu") (not $said) (not .Values.nvidia.enabled) }}
{{- fail "config.plugins.nvidia-gpu: set nvidia.enabled too, which mounts what the plugin needs, or say here whether it is enabled" }}
{{- end -}}
enabled: {{ .Values.nvidia.enabled }}
{{- end }}

{{/* The plugins that may take from others what these serve are off, until they are wanted. */}}
{{- define "supervisor.sections" -}}
nvidia-gpu:
  {{- include "supervisor.nvidiaSection" . | nindent 2 }}
{{- range $plugin := list "infiniband" "fpga" }}
{{- if not (hasKey ($.Values.config.plugins | default dict) $plugin) }}
{{ $plugin }}: {enabled: false}
{{- end }}
{{- end }}
{{- end }}

{{/* What follows from other values, with `config` over it. */}}
{{- define "supervisor.config" -}}
{{- include "supervisor.refusedConfig" . }}
{{- $kubelet := dict
      "devicePluginsDir" .Values.kubelet.devicePluginsDir
      "podResourcesSocket" (printf "%s/kubelet.sock" (trimSuffix "/" .Values.kubelet.podResourcesDir)) }}
{{- $host := dict "sysfs" "/host/sys" "dev" "/host/dev" "runUdev" "/host/run/udev" }}
{{- $derived := dict
      "apiVersion" "device-plugin-supervisor/v1alpha1"
      "kind" "SupervisorConfig"
      "kubelet" $kubelet
      "http" (include "supervisor.httpConfig" . | fromYaml)
      "host" $host
      "kubernetes" (include "supervisor.kubernetesConfig" . | fromYaml)
      "plugins" (include "supervisor.sections" . | fromYaml) }}
{{- mergeOverwrite $derived (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* The supervisor applies an edit of its file by itself, but for these sections: theirs takes effect when pods start anew. */}}
{{- define "supervisor.restartSections" -}}
{{- pick (include "supervisor.config" . | fromYaml) "kubelet" "http" "host" "kubernetes" | toJson | sha256sum }}
{{- end }}
