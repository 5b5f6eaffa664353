{{/* What the schema cannot say. Each refusal is a sentence that says what to set. */}}
{{- define "imagefleet.check" -}}
{{- $values := .Values -}}
{{- if not $values.image.repository }}{{ fail "image.repository is empty: build docker/worker.Dockerfile, push it, and name it here" }}{{ end -}}
{{- if eq $values.image.tag "latest" }}{{ fail "image.tag is latest: name a version, so that every pod of the fleet runs the same" }}{{ end -}}
{{- if not $values.models }}{{ fail "models is empty: list at least one, such as {alias: sdxl, source: {repository: owner/name, revision: 40 hex digits}}" }}{{ end -}}
{{- if not $values.storage.bucket }}{{ fail "storage.bucket is empty: name the bucket that images go to" }}{{ end -}}
{{- if and $values.redis.trial.enabled $values.redis.existingSecret }}{{ fail "redis.existingSecret and redis.trial.enabled exclude each other: drop one of them" }}{{ end -}}
{{- if not (or $values.redis.trial.enabled $values.redis.existingSecret) }}{{ fail "redis.existingSecret is empty: name the secret with Redis's URL, or set redis.trial.enabled=true for a trial" }}{{ end -}}
{{- include "imagefleet.checkScaling" . -}}
{{- include "imagefleet.checkSettings" (dict "settings" $values.settings "where" "settings") -}}
{{- include "imagefleet.checkSettings" (dict "settings" $values.sender.settings "where" "sender.settings") -}}
{{- $names := dict -}}
{{- range include "imagefleet.models" . | fromJsonArray -}}
{{- include "imagefleet.checkModel" (dict "root" $ "model" .) -}}
{{- $name := include "imagefleet.modelName" (dict "root" $ "model" .) -}}
{{- if hasKey $names $name }}{{ fail (printf "models %s and %s would have the same objects (%s): rename one" (get $names $name) .alias $name) }}{{ end -}}
{{- $_ := set $names $name .alias -}}
{{- end -}}
{{- end -}}

{{- define "imagefleet.checkScaling" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if eq $scaling.by "keda" -}}
{{- if not (or $scaling.redis.address .Values.redis.trial.enabled) }}{{ fail "autoscaling.redis.address is empty: KEDA cannot read the URL in redis.existingSecret, so name host:port here" }}{{ end -}}
{{- if and (eq $scaling.running "prometheus") (not $scaling.prometheusUrl) }}{{ fail "autoscaling.prometheusUrl is empty: autoscaling.running=prometheus asks it for running jobs" }}{{ end -}}
{{- if and (eq $scaling.running "prometheus") (not .Values.metrics.podMonitor.enabled) }}{{ fail "autoscaling.running=prometheus reads labels that the PodMonitor sets: set metrics.podMonitor.enabled=true" }}{{ end -}}
{{- if and (eq $scaling.running "leases") (gt (len .Values.models) 1) }}{{ fail "autoscaling.running=leases counts the running jobs of all models together and you have several: set it to prometheus, or to nothing" }}{{ end -}}
{{- end -}}
{{- if and (not .Values.metrics.enabled) (or .Values.metrics.podMonitor.enabled .Values.metrics.rules.enabled) }}{{ fail "metrics.enabled is false: metrics.podMonitor and metrics.rules need it" }}{{ end -}}
{{- end -}}

{{- define "imagefleet.checkModel" -}}
{{- $where := printf "model %s: " .model.alias -}}
{{- $source := .model.source -}}
{{- if eq .model.alias "webhooks" }}{{ fail (print $where "this alias is taken by the queue of webhooks: choose another") }}{{ end -}}
{{- if has .model.alias (list "sender" "redis" "flower") }}{{ fail (print $where "this alias is the name of another part of the chart: choose another") }}{{ end -}}
{{- if and (gt (int .model.gpus.count) 1) (eq .model.group.kind "none") }}{{ fail (printf "%sgpus.count is %d, but a worker owns one device: set 1 and raise replicas, or make the %d a device group with group.kind" $where (int .model.gpus.count) (int .model.gpus.count)) }}{{ end -}}
{{- if and (lt (int .model.gpus.count) 2) (ne .model.group.kind "none") }}{{ fail (printf "%sgroup.kind is %s, which needs gpus.count of 2 or more" $where .model.group.kind) }}{{ end -}}
{{- if and $source.prefetch (not (and (eq $source.kind "hub") $source.cacheClaim)) }}{{ fail (print $where "source.prefetch needs source.kind=hub and source.cacheClaim, the volume that the Job and the pods share") }}{{ end -}}
{{- if and (eq $source.kind "hub") (not (and $source.repository $source.revision)) }}{{ fail (print $where "source.kind=hub needs source.repository and source.revision (the commit, 40 hex digits)") }}{{ end -}}
{{- if and (eq $source.kind "claim") (not $source.claim) }}{{ fail (print $where "source.kind=claim needs source.claim, the name of the PersistentVolumeClaim") }}{{ end -}}
{{- if and (eq $source.kind "image") (not (hasPrefix "/" $source.path)) }}{{ fail (print $where "source.kind=image needs source.path, the absolute folder of the model in the image") }}{{ end -}}
{{- $scaling := .model.autoscaling -}}
{{- if include "imagefleet.isScaled" . -}}
{{- if gt (int $scaling.min) (int $scaling.max) }}{{ fail (print $where "autoscaling.min is more than autoscaling.max") }}{{ end -}}
{{- if and (eq .root.Values.autoscaling.by "hpa") (lt (int $scaling.min) 1) }}{{ fail (print $where "autoscaling.min is 0, which only KEDA can do: set 1, or autoscaling.by=keda") }}{{ end -}}
{{- end -}}
{{- include "imagefleet.checkSettings" (dict "settings" .model.settings "where" (print $where "settings")) -}}
{{- end -}}

{{/* What has a value of its own must not be set twice. Takes (dict "settings" map "where" words). */}}
{{- define "imagefleet.checkSettings" -}}
{{- $owned := dict
  "IMAGEFLEET_REDIS_URL" "redis.existingSecret"
  "IMAGEFLEET_REDIS_KEY_PREFIX" "redis.keyPrefix"
  "IMAGEFLEET_WORKER_DRAIN_S" "drainSeconds"
  "IMAGEFLEET_WORKER_LOG_FORMAT" "nothing: it is json here"
  "IMAGEFLEET_HEALTH_FOLDER" "nothing: the probes need it"
  "IMAGEFLEET_METRICS_PORT" "metrics.port"
  "IMAGEFLEET_METRICS_ADDRESS" "nothing: Prometheus needs it"
  "IMAGEFLEET_MODEL_ALIAS" "models[].alias"
  "IMAGEFLEET_GROUP_KIND" "models[].group.kind"
  "IMAGEFLEET_GROUP_SIZE" "models[].gpus.count"
  "IMAGEFLEET_MODEL_SOURCE" "models[].source"
  "IMAGEFLEET_MODEL_REVISION" "models[].source.revision"
  "IMAGEFLEET_MODEL_VARIANT" "models[].source.variant"
  "IMAGEFLEET_MODEL_OFFLINE" "models[].source.kind"
  "IMAGEFLEET_STORAGE_BUCKET" "storage.bucket"
  "IMAGEFLEET_STORAGE_PREFIX" "storage.prefix"
  "IMAGEFLEET_STORAGE_REGION" "storage.region"
  "IMAGEFLEET_STORAGE_ENDPOINT_URL" "storage.endpoint"
  "IMAGEFLEET_STORAGE_PATH_STYLE" "storage.pathStyle"
  "IMAGEFLEET_WEBHOOK_SECRETS" "sender.existingSecret"
  "IMAGEFLEET_WEBHOOK_ALLOW_HOSTS" "sender.allowHosts" -}}
{{- range $name, $_ := .settings -}}
{{- if not (regexMatch "^IMAGEFLEET_[A-Z0-9_]+$" $name) }}{{ fail (printf "%s: %s is no setting: their names begin with IMAGEFLEET_; other variables belong in models[].env" $.where $name) }}{{ end -}}
{{- if hasKey $owned $name }}{{ fail (printf "%s: %s belongs to the chart; set %s instead" $.where $name (get $owned $name)) }}{{ end -}}
{{- end -}}
{{- end -}}
