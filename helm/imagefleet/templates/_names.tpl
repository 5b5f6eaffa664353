{{- define "imagefleet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that the suffixes of models, senders and Redis fit. */}}
{{- define "imagefleet.fullname" -}}
{{- $name := include "imagefleet.name" . -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $both .Values.fullnameOverride | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of a model's objects. Takes (dict "root" $ "model" model). */}}
{{- define "imagefleet.modelName" -}}
{{- printf "%s-%s" (include "imagefleet.fullname" .root) (.model.alias | replace "." "-" | replace "_" "-") -}}
{{- end -}}

{{/* Labels that never change, and find pods. Takes (dict "root" $ "component" name). */}}
{{- define "imagefleet.selector" -}}
app.kubernetes.io/name: {{ include "imagefleet.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .alias }}
imagefleet/model: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "imagefleet.labels" -}}
{{ include "imagefleet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | quote }}
{{- end -}}

{{- define "imagefleet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "imagefleet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "imagefleet.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The image of senders and Flower. */}}
{{- define "imagefleet.lightImage" -}}
{{- $light := .Values.lightImage -}}
{{- if not $light.repository -}}
{{ include "imagefleet.image" . }}
{{- else if $light.digest -}}
{{ $light.repository }}@{{ $light.digest }}
{{- else -}}
{{ $light.repository }}:{{ default .Chart.AppVersion $light.tag }}
{{- end -}}
{{- end -}}
