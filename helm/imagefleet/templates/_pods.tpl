{{- define "imagefleet.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.security.uid }}
runAsGroup: {{ .Values.security.gid }}
fsGroup: {{ .Values.security.gid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "imagefleet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Environment of every pod of the fleet. Takes (dict "root" $ "drainSeconds" n "settings" map). */}}
{{- define "imagefleet.env" -}}
{{- $values := .root.Values -}}
- name: IMAGEFLEET_REDIS_URL
  {{- if $values.redis.trial.enabled }}
  value: redis://{{ include "imagefleet.fullname" .root }}-redis:6379/0
  {{- else }}
  valueFrom: {secretKeyRef: {name: {{ $values.redis.existingSecret | quote }}, key: {{ $values.redis.urlKey | quote }}}}
  {{- end }}
{{- with $values.redis.keyPrefix }}
- {name: IMAGEFLEET_REDIS_KEY_PREFIX, value: {{ . | quote }}}
{{- end }}
- {name: IMAGEFLEET_WORKER_DRAIN_S, value: {{ .drainSeconds | int64 | quote }}}
- {name: IMAGEFLEET_WORKER_LOG_FORMAT, value: json}
- {name: IMAGEFLEET_HEALTH_FOLDER, value: /tmp/health}
{{- if $values.metrics.enabled }}
- {name: IMAGEFLEET_METRICS_PORT, value: {{ $values.metrics.port | int64 | quote }}}
{{- end }}
{{- range $name, $value := mergeOverwrite (dict) $values.settings .settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{/* Where images go, for pods that make them or sign links to them. Takes (dict "root" $ "secret" name or empty). */}}
{{- define "imagefleet.storageEnv" -}}
{{- $storage := .root.Values.storage -}}
- {name: IMAGEFLEET_STORAGE_BUCKET, value: {{ $storage.bucket | quote }}}
- {name: IMAGEFLEET_STORAGE_PREFIX, value: {{ $storage.prefix | quote }}}
{{- with $storage.region }}
- {name: IMAGEFLEET_STORAGE_REGION, value: {{ . | quote }}}
{{- end }}
{{- with $storage.endpoint }}
- {name: IMAGEFLEET_STORAGE_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with $storage.publicUrl }}
- {name: IMAGEFLEET_STORAGE_PUBLIC_URL, value: {{ . | quote }}}
{{- end }}
- {name: IMAGEFLEET_STORAGE_PATH_STYLE, value: {{ $storage.pathStyle | quote }}}
{{- with .secret }}
{{- $secret := . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ . }}}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The probes read a file that the worker writes; none of them asks Redis. */}}
{{- define "imagefleet.probes" -}}
startupProbe:
  exec: {command: [imagefleet-worker, health, startup]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add .startupSeconds 4) 5 }}
readinessProbe:
  exec: {command: [imagefleet-worker, health, ready]}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  exec: {command: [imagefleet-worker, health, live]}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{- define "imagefleet.ports" -}}
{{- if .Values.metrics.enabled }}
ports:
  - {name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP}
{{- end }}
{{- end -}}

{{- define "imagefleet.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.redis.caSecret }}
- {name: redis-ca, mountPath: /etc/imagefleet/redis, readOnly: true}
{{- end }}
{{- end -}}

{{- define "imagefleet.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- with .Values.redis.caSecret }}
- name: redis-ca
  secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}

{{/* The head of every pod's spec. */}}
{{- define "imagefleet.pod" -}}
serviceAccountName: {{ include "imagefleet.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - {name: {{ . | quote }}}
  {{- end }}
{{- end }}
securityContext:
  {{- include "imagefleet.podSecurity" . | nindent 2 }}
{{- end -}}


{{/* Workers send events where Flower listens to them: without -E it hears of no job that begins. */}}
{{- define "imagefleet.events" -}}
{{- if .Values.flower.enabled }}, -E{{ end -}}
{{- end -}}
