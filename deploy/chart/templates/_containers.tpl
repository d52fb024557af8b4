{{/* The containers of the pod. */}}

{{/* Where Secrets are mounted. The directory of the configuration is a read-only mount, which can hold none. */}}
{{- define "supervisor.secrets" -}}
/run/secrets/device-plugin-supervisor
{{- end }}

{{/* Not /sys itself: other file systems are mounted below it, and would come along writable. */}}
{{- define "supervisor.sysfs" -}}
[bus, class, dev, devices, module]
{{- end }}

{{- define "supervisor.containerImage" -}}
image: {{ include "supervisor.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "supervisor.unprivileged" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Of the values and a path. */}}
{{- define "supervisor.probe" -}}
httpGet:
  path: {{ last . }}
  port: http
  {{- if (first .).http.tls.secretName }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{- define "supervisor.mainContainer" -}}
- name: supervisor
  {{- include "supervisor.containerImage" . | nindent 2 }}
  args: [run, --config, /etc/device-plugin-supervisor/config.yaml]
  env:
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    {{- if .Values.nvidia.runtimeClassName }}
    - {name: NVIDIA_VISIBLE_DEVICES, value: all}
    - {name: NVIDIA_DRIVER_CAPABILITIES, value: utility}
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: http, containerPort: {{ .Values.http.port }}, protocol: TCP}
  startupProbe:
    {{- include "supervisor.probe" (list .Values "/livez") | nindent 4 }}
    periodSeconds: 1
    timeoutSeconds: 1
    failureThreshold: 60
  livenessProbe:
    {{- include "supervisor.probe" (list .Values "/livez") | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 4
  readinessProbe:
    {{- include "supervisor.probe" (list .Values "/readyz") | nindent 4 }}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 3
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "supervisor.unprivileged" . | nindent 4 }}
  volumeMounts:
    {{- include "supervisor.mainMounts" . | nindent 4 }}
{{- end }}

{{- define "supervisor.mainMounts" -}}
- {name: config, mountPath: /etc/device-plugin-supervisor, readOnly: true}
- {name: device-plugins, mountPath: {{ .Values.kubelet.devicePluginsDir | quote }}}
- {name: pod-resources, mountPath: {{ .Values.kubelet.podResourcesDir | quote }}, readOnly: true}
- {name: dev, mountPath: /host/dev, readOnly: true}
- {name: nothing, mountPath: /host/dev/pts, readOnly: true}
- {name: nothing, mountPath: /host/dev/shm, readOnly: true}
- {name: run-udev, mountPath: /host/run/udev, readOnly: true}
{{- range $tree := include "supervisor.sysfs" . | fromYamlArray }}
- {name: sys-{{ $tree }}, mountPath: /host/sys/{{ $tree }}, readOnly: true}
{{- end }}
{{- if include "supervisor.hasHelper" . }}
- {name: helper-socket, mountPath: /run/device-plugin-supervisor, readOnly: true}
{{- end }}
{{- if include "supervisor.hasDriverRoot" . }}
{{- /* What CDI specs name, and not the whole root: below that /proc, /sys and /run would be writable. */}}
- {name: driver-usr, mountPath: /driver-root/usr, readOnly: true}
- {name: driver-lib, mountPath: /driver-root/lib, readOnly: true}
{{- end }}
{{- if .Values.nvidia.driverContainer }}
- {name: run-nvidia, mountPath: /driver-root/run/nvidia, readOnly: true, mountPropagation: HostToContainer}
{{- end }}
{{- if .Values.fpgaProgramming.enabled }}
- {name: bitstreams, mountPath: /var/lib/device-plugin-supervisor/bitstreams, readOnly: true}
{{- end }}
{{- if .Values.cdi.enabled }}
- {name: cdi, mountPath: /var/run/cdi}
- {name: device-info, mountPath: /var/run/k8s.cni.cncf.io/devinfo/dp}
{{- end }}
{{- if .Values.http.tls.secretName }}
- {name: tls, mountPath: {{ include "supervisor.secrets" . }}/tls, readOnly: true}
{{- end }}
{{- if .Values.http.auth.secretName }}
- {name: auth, mountPath: {{ include "supervisor.secrets" . }}/auth, readOnly: true}
{{- end }}
{{- if include "supervisor.asksCluster" . }}
- {name: api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "supervisor.helperContainer" -}}
- name: helper
  {{- include "supervisor.containerImage" . | nindent 2 }}
  args:
    - helper
    {{- range .Values.helper.programs }}
    - --program={{ . }}
    {{- end }}
  {{- with .Values.helper.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- /* The usual place would become a file in the host's /dev. */}}
  terminationMessagePath: /run/termination-log
  resources:
    {{- toYaml .Values.helper.resources | nindent 4 }}
  securityContext:
    privileged: true
    allowPrivilegeEscalation: true
    readOnlyRootFilesystem: true
    seLinuxOptions: {type: spc_t, level: s0}
  volumeMounts:
    - {name: helper-socket, mountPath: /run/device-plugin-supervisor}
    - {name: dev, mountPath: /dev, readOnly: true}
    {{- if include "supervisor.hasDriverRoot" . }}
    - {name: driver-root, mountPath: /driver-root, readOnly: true, mountPropagation: HostToContainer}
    {{- end }}
    {{- if .Values.fpgaProgramming.enabled }}
    - {name: bitstreams, mountPath: /var/lib/device-plugin-supervisor/bitstreams, readOnly: true}
    {{- /* The host's: an old and a new pod work on the same FPGAs. */}}
    - {name: fpga-locks, mountPath: /run/device-plugin-supervisor/fpga}
    {{- end }}
    {{- with .Values.helper.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Changing a label asks for a type that may, not for a privilege. */}}
{{- define "supervisor.labelContainer" -}}
- name: label-directories
  {{- include "supervisor.containerImage" . | nindent 2 }}
  command: [python3, /etc/device-plugin-supervisor-cdi/label.py, /var/run/cdi, /var/run/k8s.cni.cncf.io/devinfo/dp]
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 64Mi}
  securityContext:
    {{- include "supervisor.unprivileged" . | nindent 4 }}
    seLinuxOptions: {type: spc_t, level: s0}
  volumeMounts:
    - {name: cdi-label, mountPath: /etc/device-plugin-supervisor-cdi, readOnly: true}
    - {name: cdi, mountPath: /var/run/cdi}
    - {name: device-info, mountPath: /var/run/k8s.cni.cncf.io/devinfo/dp}
{{- end }}
