{{- /*
The third door. values.yaml says what holds, values.schema.json refuses most of what doesn't, and what a schema can't
say, or what came past it (--skip-schema-validation), ends here with its remedy.
*/ -}}
{{- define "jumpstream.guard" -}}
{{- $state := include "jumpstream.state" . -}}
{{- $config := .Values.config -}}

{{- if not $config.accounts -}}
{{- fail "config.accounts is missing: name a key, as in `config: {accounts: [{region: us, api_key: {file: /run/secrets/jumpcloud/api-key}}]}`" -}}
{{- end -}}
{{- if not $config.sinks -}}
{{- fail "config.sinks is missing: say where events go, as in `config: {sinks: [{type: kafka, brokers: [\"kafka:9092\"], topic: jumpcloud.events}]}`" -}}
{{- end -}}

{{- $written := dig "state" "type" $state $config -}}
{{- if ne $written $state -}}
{{- if eq $state "kafka" -}}
{{- fail (printf "config.state.type is %s beside a Kafka sink of delivery: exactly_once, whose ledger lies in Kafka: delete config.state.type, or write delivery: at_least_once at the sink" $written) -}}
{{- else -}}
{{- fail (printf "config.state.type is %s, and there is no Kafka sink of delivery: exactly_once: delete config.state.type, or write delivery: exactly_once at the sink" $written) -}}
{{- end -}}
{{- end -}}

{{- if and (eq $state "sqlite") (gt (include "jumpstream.replicas" . | int) 1) -}}
{{- fail (printf "replicaCount is %d, and the state is a database, which has one process at a time: delete replicaCount, or use a Kafka sink of delivery: exactly_once, whose replicas share the work" (include "jumpstream.replicas" . | int)) -}}
{{- end -}}

{{- if lt (int .Values.terminationGracePeriodSeconds) 15 -}}
{{- fail "terminationGracePeriodSeconds is below 15: jumpstream may take 12 s to commit what is in flight, and a kill before that costs a take-over of 6 s, or repeats" -}}
{{- end -}}

{{- if regexMatch "^(127\\.|\\[::1\\])" $config.server.listen -}}
{{- fail (printf "config.server.listen is %s, where the kubelet's probes can't reach it: write \"0.0.0.0:9464\", or \"[::]:9464\"" $config.server.listen) -}}
{{- end -}}
{{- $page := dig "page" "listen" "127.0.0.1:9465" $config -}}
{{- if and (not (regexMatch "^(127\\.|\\[::1\\])" $page)) (not (dig "page" "token" "file" "" $config)) -}}
{{- fail (printf "config.page.listen is %s and config.page.token is missing: the page would be open to the whole network. Write `token: {file: /run/secrets/…}` beside it, or leave page out and use kubectl port-forward" $page) -}}
{{- end -}}
{{- if eq (regexFind "[0-9]+$" $page) (include "jumpstream.port" .) -}}
{{- fail (printf "config.page.listen and config.server.listen both take port %s: choose another for one of them" (include "jumpstream.port" .)) -}}
{{- end -}}

{{- range (include "jumpstream.inputs" . | fromJson).files -}}
{{- include "jumpstream.guardInput" (dict "root" $ "file" .) -}}
{{- end -}}
{{- range $key, $file := include "jumpstream.outputs" . | fromJson -}}
{{- include "jumpstream.guardOutput" (dict "root" $ "key" $key "file" $file "state" $state) -}}
{{- end -}}
{{- include "jumpstream.guardSecrets" . -}}

{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor and metrics.podMonitor are both enabled: every replica would be asked twice. Keep one" -}}
{{- end -}}
{{- end -}}

{{- /* A secret given as a variable would never be read again, and stand in the pod's description. */ -}}
{{- define "jumpstream.guardSecrets" -}}
{{- if regexMatch "\"(api_key|password|client_secret|token)\":\\{\"env\"" (toJson .Values.config) -}}
{{- fail "a secret of config is {env: …}: the chart mounts secrets as files. Name the secret under `secrets` and write {file: /run/secrets/<its name there>/<key>}" -}}
{{- end -}}
{{- end -}}

{{- /* A file that is read must lie in a folder that is mounted. */ -}}
{{- define "jumpstream.guardInput" -}}
{{- $values := .root.Values -}}
{{- $file := .file -}}
{{- $found := false -}}
{{- range $values.extraVolumeMounts }}{{ if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $file }}{{ $found = true }}{{ end }}{{ end -}}
{{- range $name, $secret := $values.secrets -}}
{{- if hasPrefix (printf "/run/secrets/%s/" $name) $file -}}
{{- $found = true -}}
{{- $rest := trimPrefix (printf "/run/secrets/%s/" $name) $file -}}
{{- if $secret.items -}}
{{- $paths := list -}}
{{- range $secret.items }}{{ $paths = append $paths .path }}{{ end -}}
{{- if not (has $rest $paths) -}}
{{- fail (printf "config names %s, and secrets.%s.items makes only %s: correct one of the two" $file $name (join ", " $paths)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- $folder := regexReplaceAll "^/run/secrets/([^/]+)/.*$" $file "${1}" -}}
{{- if eq $folder $file -}}
{{- fail (printf "config names %s, which nothing mounts: write /run/secrets/<name>/<key> and name the secret under `secrets`, or mount it with extraVolumes and extraVolumeMounts" $file) -}}
{{- else -}}
{{- fail (printf "config names %s, and secrets has no %s: write `secrets: {%s: {secretName: …}}` with a secret that has the key %s" $file $folder $folder (base $file)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The root is read-only: a file that is written must lie on a volume. */ -}}
{{- define "jumpstream.guardOutput" -}}
{{- $file := .file -}}
{{- $found := and (eq .state "sqlite") (or (not (hasPrefix "/" $file)) (hasPrefix "/var/lib/jumpstream/" $file)) -}}
{{- range .root.Values.extraVolumeMounts }}{{ if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $file }}{{ $found = true }}{{ end }}{{ end -}}
{{- if not $found -}}
{{- if eq .state "kafka" -}}
{{- fail (printf "%s is %s, and there is no volume where the state lies in Kafka: use a topic (`%s: {topic: …}`), or mount one with extraVolumes and extraVolumeMounts" .key $file (regexFind "dead_letter|control" .key | default "dead_letter")) -}}
{{- else -}}
{{- fail (printf "%s is %s, outside the claim, on a root that is read-only: write a relative path, or one below /var/lib/jumpstream" .key $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
