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
{{- include "imagefleet.checkSettings" (dict "root" $ "settings" $values.settings "where" "settings") -}}
{{- include "imagefleet.checkSettings" (dict "root" $ "settings" $values.sender.settings "where" "sender.settings") -}}
{{- $names := dict -}}
{{- range $index, $model := include "imagefleet.models" . | fromJsonArray -}}
{{- with $model -}}
{{- include "imagefleet.checkModel" (dict "root" $ "model" .) -}}
{{- include "imagefleet.checkRanks" (dict "root" $ "model" . "given" (index $values.models $index)) -}}
{{- $name := include "imagefleet.modelName" (dict "root" $ "model" .) -}}
{{- if hasKey $names $name }}{{ fail (printf "models %s and %s would have the same objects (%s): rename one" (get $names $name) .alias $name) }}{{ end -}}
{{- $_ := set $names $name .alias -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a group of several processes needs. Takes (dict "root" $ "model" model "given" the model without defaults). */}}
{{- define "imagefleet.checkRanks" -}}
{{- $kind := .model.group.kind -}}
{{- if has $kind (list "context" "tensor") -}}
{{- $where := printf "model %s: " .model.alias -}}
{{- $mode := get (merge (dict) .model.settings .root.Values.settings) "IMAGEFLEET_ENGINE_MODE" | default "off" -}}
{{- if ne $mode "off" }}{{ fail (printf "%sIMAGEFLEET_ENGINE_MODE is %s, but a group of kind %s makes one job at a time: leave it out" $where $mode $kind) }}{{ end -}}
{{- if not (hasKey .given "resources") }}{{ fail (printf "%sresources is not set: each of the %d ranks of a group of kind %s loads the whole model into the pod's memory, so set requests and limits that hold it %d times" $where (int .model.gpus.count) $kind (int .model.gpus.count)) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "imagefleet.checkScaling" -}}
{{- $scaling := .Values.autoscaling -}}
{{- if eq $scaling.by "keda" -}}
{{- if not (and .Values.sender.enabled .Values.metrics.enabled) }}{{ fail "autoscaling.by=keda asks the senders how many jobs there are, because they run without any worker: set sender.enabled=true and metrics.enabled=true" }}{{ end -}}
{{- $isWeighed := eq $scaling.unit "seconds" -}}
{{- if and $isWeighed (not $scaling.prometheusUrl) }}{{ fail "autoscaling.prometheusUrl is empty: autoscaling.unit=seconds asks it how long a job takes" }}{{ end -}}
{{- if and $isWeighed (not .Values.metrics.podMonitor.enabled) }}{{ fail "autoscaling.unit=seconds reads labels that the PodMonitor sets: set metrics.podMonitor.enabled=true" }}{{ end -}}
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
{{- include "imagefleet.checkSettings" (dict "root" .root "settings" .model.settings "where" (print $where "settings")) -}}
{{- end -}}

{{/* What has a value of its own must not be set twice. Takes (dict "root" $ "settings" map "where" words). */}}
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
  "IMAGEFLEET_STORAGE_PUBLIC_URL" "storage.publicUrl"
  "IMAGEFLEET_STORAGE_PATH_STYLE" "storage.pathStyle"
  "IMAGEFLEET_PROVENANCE_C2PA_KEY_FILE" "provenance.c2paSecret"
  "IMAGEFLEET_PROVENANCE_C2PA_CERTIFICATE_FILE" "provenance.c2paSecret"
  "IMAGEFLEET_WEBHOOK_SECRETS" "sender.existingSecret"
  "IMAGEFLEET_WEBHOOK_ALLOW_HOSTS" "sender.allowHosts" -}}
{{- range $name, $_ := .settings -}}
{{- if not (regexMatch "^IMAGEFLEET_[A-Z0-9_]+$" $name) }}{{ fail (printf "%s: %s is no setting: their names begin with IMAGEFLEET_; other variables belong in models[].env" $.where $name) }}{{ end -}}
{{- $known := $.root.Files.Get "settings.json" | fromJsonArray -}}
{{- if not (has $name $known) }}{{ fail (printf "%s: %s is no setting: did you mean %s?" $.where $name (include "imagefleet.nearest" (dict "name" $name "known" $known))) }}{{ end -}}
{{- if hasKey $owned $name }}{{ fail (printf "%s: %s belongs to the chart; set %s instead" $.where $name (get $owned $name)) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* The name of known that has most runs of three letters in common with name. Takes (dict "name" name "known" names). */}}
{{- define "imagefleet.nearest" -}}
{{- $name := .name -}}
{{- $best := dict "name" "" "score" 0 -}}
{{- range $known := .known -}}
{{- $hits := 0 -}}
{{- range $at := until (int (sub (len $known) 2)) -}}
{{- if contains (substr $at (int (add $at 3)) $known) $name }}{{ $hits = add $hits 1 }}{{ end -}}
{{- end -}}
{{- $score := div (mul 2000 $hits) (add (len $known) (len $name)) -}}
{{- if gt (int $score) (int $best.score) }}{{ $_ := set $best "name" $known }}{{ $_ := set $best "score" $score }}{{ end -}}
{{- end -}}
{{- $best.name -}}
{{- end -}}
