{{- define "mb.name" -}}
{{- $name := .Release.Name -}}
{{- if contains .Chart.Name $name }}{{ $name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" $name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* The labels of a component: (dict "root" $ "component" "gateway") */}}
{{- define "mb.labels" -}}
{{ include "mb.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "mb.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mb.image" -}}
{{ .root.Values.image.registry }}/{{ .component }}:{{ .root.Values.image.tag | default (printf "v%s" .root.Chart.AppVersion) }}
{{- end }}

{{- define "mb.secret" -}}
{{ .Values.secrets.existing | default (printf "%s-secrets" (include "mb.name" .)) }}
{{- end }}

{{/* Who a service calls, as arguments. */}}
{{- define "mb.peers" -}}
{{- $name := include "mb.name" .root -}}
{{- $peers := dict "orchestrator" (list "classifier" "autofixer" "flag-resolver") "gateway" (list "orchestrator" "classifier" "flag-resolver") "runner" (list "orchestrator") -}}
{{- range get $peers .component | default list }}
- --set
- peers.{{ . }}=http://{{ $name }}-{{ . }}:{{ (get $.root.Values.services .).port }}
{{- end }}
{{- end }}

{{/* Variables of a component, secrets by reference. */}}
{{- define "mb.env" -}}
{{- $root := .root -}}
{{- $secret := include "mb.secret" $root -}}
{{- $token := ternary "runner-token" "service-token" (eq .component "runner") -}}
- name: METABUILDER__AUTH__SERVICE_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $token }}}}
- name: METABUILDER__LISTEN
  value: "0.0.0.0:{{ .port }}"
- name: METABUILDER__ADMIN
  value: "0.0.0.0:{{ $root.Values.adminPort }}"
{{- $database := get (dict "orchestrator" "orchestrator-database" "flag-resolver" "flag-resolver-database" "autofixer" "autofixer-database") .component }}
{{- if $database }}
- name: METABUILDER__DATABASE
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $database }}}}
{{- end }}
{{- if eq .component "orchestrator" }}
- name: METABUILDER__WEBHOOKS__KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: webhooks-key}}
{{- end }}
{{- if and $root.Values.objects (has .component (list "orchestrator" "runner")) }}
- name: METABUILDER__OBJECTS
  value: {{ $root.Values.objects | quote }}
{{- end }}
{{- if and $root.Values.publicUrl (eq .component "gateway") }}
- name: METABUILDER__PUBLIC_URL
  value: {{ $root.Values.publicUrl | quote }}
{{- end }}
{{- if eq .component "flag-resolver" }}
- name: META_BUILDER_ENV
  value: {{ $root.Values.environment }}
{{- end }}
{{- with $root.Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ printf "deployment.environment.name=%s" $root.Values.environment | quote }}
{{- range $key, $value := merge (dict) (.own | default dict) $root.Values.env }}
- name: {{ $key }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "mb.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Ready when gRPC health says so; alive while the process answers: a service that waits for another
one is not ready, and starting it again would not help. */}}
{{- define "mb.probes" -}}
readinessProbe:
  {{- if eq .component "gateway" }}
  httpGet: {path: /readyz, port: main}
  {{- else }}
  grpc: {port: {{ .port }}}
  {{- end }}
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: {path: /livez, port: admin}
  initialDelaySeconds: 10
  periodSeconds: 10
  failureThreshold: 6
{{- end }}

{{/* Where metrics are, for a Prometheus that looks at annotations. */}}
{{- define "mb.scraped" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.adminPort | quote }}
prometheus.io/path: /metrics
{{- end }}

{{/* The rule that lets metrics be read. */}}
{{- define "mb.metrics" -}}
- ports:
    - {port: {{ .Values.adminPort }}}
  {{- with .Values.networkPolicy.metricsFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
