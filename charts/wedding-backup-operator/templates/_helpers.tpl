{{/* The beginning of all names. */}}
{{- define "wedding-backup-operator.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "wedding-backup-operator.operator" -}}
{{ include "wedding-backup-operator.fullname" . }}-operator
{{- end -}}

{{- define "wedding-backup-operator.broker" -}}
{{ include "wedding-backup-operator.fullname" . }}-broker
{{- end -}}

{{/* The account of workers in the operator's own namespace, which hold credentials and no keys. */}}
{{- define "wedding-backup-operator.worker" -}}
{{ include "wedding-backup-operator.fullname" . }}-worker
{{- end -}}

{{- define "wedding-backup-operator.release" -}}
{{ include "wedding-backup-operator.fullname" . }}-release
{{- end -}}

{{- define "wedding-backup-operator.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What tells this release's operator from others: never changes, as a Deployment's selector must not. */}}
{{- define "wedding-backup-operator.selector" -}}
app.kubernetes.io/name: wedding-backup-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "wedding-backup-operator.brokerSelector" -}}
app.kubernetes.io/name: wedding-backup-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "wedding-backup-operator.labels" -}}
app.kubernetes.io/name: wedding-backup-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: wedding-backup-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The restricted Pod Security Standard, for pods and for their containers. */}}
{{- define "wedding-backup-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "wedding-backup-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
