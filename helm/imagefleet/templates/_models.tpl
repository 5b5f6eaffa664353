{{/* All models with what they inherit, as JSON: include "imagefleet.models" . | fromJsonArray */}}
{{- define "imagefleet.models" -}}
{{- $models := list -}}
{{- range .Values.models -}}
{{- $models = append $models (mustMergeOverwrite (deepCopy $.Values.modelDefaults) (deepCopy .)) -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* Whether a model is scaled: "true" or nothing. Takes (dict "root" $ "model" model). */}}
{{- define "imagefleet.isScaled" -}}
{{- if and .model.autoscaling.enabled (ne .root.Values.autoscaling.by "none") }}true{{ end -}}
{{- end -}}

{{/* The worker's own settings of a model's source, as environment variables. */}}
{{- define "imagefleet.sourceEnv" -}}
{{- $source := .source -}}
{{- if eq $source.kind "hub" }}
- {name: IMAGEFLEET_MODEL_SOURCE, value: {{ $source.repository | quote }}}
- {name: IMAGEFLEET_MODEL_REVISION, value: {{ $source.revision | quote }}}
- {name: HF_HOME, value: /models/huggingface}
{{- else if eq $source.kind "claim" }}
- {name: IMAGEFLEET_MODEL_SOURCE, value: {{ printf "/models/%s" (trimPrefix "/" $source.path) | quote }}}
{{- else }}
- {name: IMAGEFLEET_MODEL_SOURCE, value: {{ $source.path | quote }}}
{{- end }}
{{- with $source.variant }}
- {name: IMAGEFLEET_MODEL_VARIANT, value: {{ . | quote }}}
{{- end }}
- {name: IMAGEFLEET_MODEL_OFFLINE, value: "true"}
{{- end -}}

{{/* A pod that asked for a GPU and finds none ends, instead of serving on the CPU. Takes (dict "root" $ "model" model). */}}
{{- define "imagefleet.deviceEnv" -}}
{{- $resource := .model.gpus.resource -}}
{{- $settings := merge (dict) .model.settings .root.Values.settings -}}
{{- if and (gt (int .model.gpus.count) 0) (or (hasPrefix "nvidia.com/" $resource) (hasPrefix "amd.com/" $resource)) (not (hasKey $settings "IMAGEFLEET_MODEL_DEVICE")) }}
- {name: IMAGEFLEET_MODEL_DEVICE, value: cuda}
{{- end }}
{{- end -}}

{{/* The volume of a model's source. */}}
{{- define "imagefleet.sourceVolume" -}}
{{- if eq .source.kind "claim" }}
- name: models
  persistentVolumeClaim: {claimName: {{ .source.claim | quote }}, readOnly: true}
{{- else if and (eq .source.kind "hub") .source.cacheClaim }}
- name: models
  persistentVolumeClaim: {claimName: {{ .source.cacheClaim | quote }}}
{{- else if eq .source.kind "hub" }}
- name: models
  emptyDir: {sizeLimit: {{ .source.cacheSize | quote }}}
{{- end }}
{{- end -}}

{{/* The init container that fetches a model. Takes (dict "root" $ "model" model). */}}
{{- define "imagefleet.fetch" -}}
{{- $source := .model.source -}}
- name: fetch
  image: {{ include "imagefleet.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command:
    - python3
    - -c
    - |
      import json, os
      from huggingface_hub import snapshot_download
      patterns = json.loads(os.environ["FETCH_FILES"]) or None
      print(snapshot_download(os.environ["FETCH_REPOSITORY"], revision=os.environ["FETCH_REVISION"], allow_patterns=patterns))
      {{- if $source.prefetch }}
      open(os.environ["FETCHED"], "w").close()
      {{- end }}
  env:
    - {name: FETCH_REPOSITORY, value: {{ $source.repository | quote }}}
    - {name: FETCH_REVISION, value: {{ $source.revision | quote }}}
    - {name: FETCH_FILES, value: {{ toJson $source.files | quote }}}
    - {name: HF_HOME, value: /models/huggingface}
    {{- if $source.prefetch }}
    - {name: FETCHED, value: {{ include "imagefleet.fetched" .model }}}
    {{- end }}
    {{- with $source.tokenSecret }}
    - name: HF_TOKEN
      valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: token}}
    {{- end }}
  resources:
    requests: {cpu: 500m, memory: 1Gi}
    limits: {memory: 2Gi}
  securityContext: {{ include "imagefleet.containerSecurity" .root | fromYaml | toJson }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end -}}


{{/* Tells one source from another. */}}
{{- define "imagefleet.sourceHash" -}}
{{- pick .source "repository" "revision" "files" | toJson | sha256sum | trunc 8 -}}
{{- end -}}

{{/* The file that says that a model has been fetched whole. */}}
{{- define "imagefleet.fetched" -}}
/models/huggingface/.imagefleet-{{ include "imagefleet.sourceHash" . }}
{{- end -}}

{{/* The init container that waits for the Job that fetches. Takes (dict "root" $ "model" model). */}}
{{- define "imagefleet.await" -}}
- name: await
  image: {{ include "imagefleet.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [sh, -c, 'until [ -e "$FETCHED" ]; do sleep 2; done']
  env:
    - {name: FETCHED, value: {{ include "imagefleet.fetched" .model }}}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 32Mi}
  securityContext: {{ include "imagefleet.containerSecurity" .root | fromYaml | toJson }}
  volumeMounts:
    - {name: models, mountPath: /models, readOnly: true}
{{- end -}}
