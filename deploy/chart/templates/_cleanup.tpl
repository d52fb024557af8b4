{{/* What runs after `helm uninstall`: on every node a pod that cleans up and then waits, and a Job that waits for all of them. */}}

{{- define "supervisor.cleanupName" -}}
{{ include "supervisor.fullname" . }}-cleanup
{{- end }}

{{- define "supervisor.cleanupSelector" -}}
app.kubernetes.io/name: device-plugin-supervisor
app.kubernetes.io/component: {{ last . }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
{{- end }}

{{/* Of a list: the root, the place in the order, and what the name ends in if not as the others'. After a failure all stays, to be
     looked at and to go on. */}}
{{- define "supervisor.cleanupMetadata" -}}
{{- $root := first . -}}
name: {{ include "supervisor.cleanupName" $root }}{{ range slice . 2 }}-{{ . }}{{ end }}
labels:
  {{- include "supervisor.releaseLabels" $root | nindent 2 }}
  app.kubernetes.io/component: cleanup
  app.kubernetes.io/part-of: device-plugin-supervisor
annotations:
  helm.sh/hook: post-delete
  helm.sh/hook-weight: {{ index . 1 | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Of a list: the root, and the pods' component. */}}
{{- define "supervisor.cleanupPod" -}}
{{- $root := first . -}}
labels:
  {{- include "supervisor.cleanupSelector" . | nindent 2 }}
  app.kubernetes.io/part-of: device-plugin-supervisor
  {{- with merge (dict) $root.Values.podLabels $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or $root.Values.openshift.enabled $root.Values.podAnnotations }}
annotations:
  {{- if $root.Values.openshift.enabled }}
  openshift.io/required-scc: {{ include "supervisor.cleanupName" $root }}
  {{- end }}
  {{- with $root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Of both kinds of pods. */}}
{{- define "supervisor.cleanupSpec" -}}
serviceAccountName: {{ include "supervisor.cleanupName" . }}
{{ include "supervisor.placement" . }}
terminationGracePeriodSeconds: 1
securityContext:
  {{- include "supervisor.podSecurity" . | nindent 2 }}
{{- end }}

{{/* The control groups tell which pods live: the kubelet's own notes may be old when no plugin tells it anything. */}}
{{- define "supervisor.cleanupContainer" -}}
- name: cleanup
  {{- include "supervisor.containerImage" . | nindent 2 }}
  args: [cleanup, --config, /etc/device-plugin-supervisor/config.yaml, --wait, {{ .Values.cleanup.seconds | quote }}]
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "supervisor.unprivileged" . | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /etc/device-plugin-supervisor, readOnly: true}
    - {name: device-plugins, mountPath: {{ .Values.kubelet.devicePluginsDir | quote }}}
    - {name: pod-resources, mountPath: {{ .Values.kubelet.podResourcesDir | quote }}, readOnly: true}
    - {name: cgroup, mountPath: /host/sys/fs/cgroup, readOnly: true}
    - {name: cdi, mountPath: /var/run/cdi}
    - {name: device-info, mountPath: /var/run/k8s.cni.cncf.io/devinfo/dp}
{{- end }}
