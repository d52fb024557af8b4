{{/* What things are called, and the labels that say so. */}}

{{/* The release's own name where it says what it is, so that `helm install device-plugin-supervisor` gives the names of the base. */}}
{{- define "supervisor.fullname" -}}
{{- /* Room for a suffix of ours, and for what Kubernetes adds to the names of pods. */}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "supervisor.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "supervisor.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "supervisor.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* Of the pods. The name is the same for every release: alerts and dashboard go by it. Nothing here may change in the life of
     a release, since a DaemonSet's selector cannot. */}}
{{- define "supervisor.selector" -}}
app.kubernetes.io/name: device-plugin-supervisor
app.kubernetes.io/component: supervisor
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of every object. */}}
{{- define "supervisor.releaseLabels" -}}
app.kubernetes.io/name: device-plugin-supervisor
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of those that the supervisor's pods need. */}}
{{- define "supervisor.labels" -}}
{{ include "supervisor.releaseLabels" . }}
app.kubernetes.io/component: supervisor
app.kubernetes.io/part-of: device-plugin-supervisor
{{- end }}

{{/* Name and namespace of an object that has the release's name. */}}
{{- define "supervisor.metadata" -}}
name: {{ include "supervisor.fullname" . }}
namespace: {{ include "supervisor.namespace" . }}
labels:
  {{- include "supervisor.labels" . | nindent 2 }}
{{- end }}

{{- define "supervisor.image" -}}
{{- $image := .Values.image }}
{{- $tag := $image.tag | default .Chart.AppVersion }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository $tag }}
{{- end }}
{{- end }}
