{{- /* What follows from `config`. Each answers with text, since that is all a template can give. */ -}}

{{- /* `kafka` beside a Kafka sink of `delivery: exactly_once`, which is the default, else `sqlite`. */ -}}
{{- define "jumpstream.state" -}}
{{- $state := "sqlite" -}}
{{- range .Values.config.sinks -}}
{{- if and (eq .type "kafka") (eq (.delivery | default "exactly_once") "exactly_once") -}}
{{- $state = "kafka" -}}
{{- end -}}
{{- end -}}
{{- $state -}}
{{- end -}}

{{- define "jumpstream.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount -}}
{{- eq (include "jumpstream.state" .) "kafka" | ternary 2 1 -}}
{{- else -}}
{{- int .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{- define "jumpstream.port" -}}
{{- regexFind "[0-9]+$" .Values.config.server.listen -}}
{{- end -}}

{{- /* The ports of the brokers and receivers that `config` names, as {"TCP": […], "UDP": […]}. */ -}}
{{- define "jumpstream.sinkPorts" -}}
{{- $ports := dict "TCP" list "UDP" list -}}
{{- range .Values.networkPolicy.sinkPorts }}{{ $_ := set $ports "TCP" (append $ports.TCP (int .)) }}{{ end -}}
{{- $usual := dict "udp" 514 "tcp" 514 "tls" 6514 "relp" 2514 "relp+tls" 2514 -}}
{{- range .Values.config.sinks -}}
{{- range .brokers }}{{ $_ := set $ports "TCP" (append $ports.TCP (regexFind "[0-9]+$" . | int)) }}{{ end -}}
{{- if .address -}}
{{- range concat (list .address) (.fallbacks | default list) -}}
{{- $scheme := regexFind "^[a-z+]+" . -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" | default (get $usual $scheme) | int -}}
{{- $protocol := eq $scheme "udp" | ternary "UDP" "TCP" -}}
{{- $_ := set $ports $protocol (append (get $ports $protocol) $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "TCP" ($ports.TCP | uniq | sortAlpha) "UDP" ($ports.UDP | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{- /* The ports of the API, where it is not JumpCloud's own, and of token endpoints, as {"ports": […]}. */ -}}
{{- define "jumpstream.endpointPorts" -}}
{{- $ports := list -}}
{{- $urls := list -}}
{{- range .Values.config.accounts }}{{ with .endpoint }}{{ $urls = append $urls . }}{{ end }}{{ end -}}
{{- range .Values.config.sinks }}{{ with .sasl }}{{ with .token_endpoint }}{{ $urls = append $urls . }}{{ end }}{{ end }}{{ end -}}
{{- range $urls -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "http" | ternary "80" "443") -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- dict "ports" ($ports | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{- /* All files that `config` reads, as {"files": […]}. */ -}}
{{- define "jumpstream.inputs" -}}
{{- $files := list -}}
{{- range .Values.config.accounts -}}
{{- range list .api_key (dig "client_secret" (dict) (.service_account | default dict)) }}{{ with . }}{{ with .file }}{{ $files = append $files . }}{{ end }}{{ end }}{{ end -}}
{{- end -}}
{{- range .Values.config.sinks -}}
{{- with .tls }}{{ range list .ca .certificate .key }}{{ with . }}{{ $files = append $files . }}{{ end }}{{ end }}{{ end -}}
{{- with .sasl -}}
{{- range list .password .client_secret }}{{ with . }}{{ with .file }}{{ $files = append $files . }}{{ end }}{{ end }}{{ end -}}
{{- with .ca }}{{ $files = append $files . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.config.page }}{{ with .token }}{{ with .file }}{{ $files = append $files . }}{{ end }}{{ end }}{{ end -}}
{{- dict "files" ($files | uniq) | toJson -}}
{{- end -}}

{{- /* All files that it writes, by the key that names them, as {"key": "path"}. */ -}}
{{- define "jumpstream.outputs" -}}
{{- $files := dict -}}
{{- range $index, $sink := .Values.config.sinks -}}
{{- with $sink.path }}{{ $_ := set $files (printf "config.sinks[%d].path" $index) . }}{{ end -}}
{{- end -}}
{{- with .Values.config.dead_letter }}{{ with .file }}{{ $_ := set $files "config.dead_letter.file" . }}{{ end }}{{ end -}}
{{- with .Values.config.control }}{{ with .file }}{{ $_ := set $files "config.control.file" . }}{{ end }}{{ end -}}
{{- with .Values.config.state }}{{ with .path }}{{ $_ := set $files "config.state.path" . }}{{ end }}{{ end -}}
{{- $files | toJson -}}
{{- end -}}

{{- /* The organizations that `config` names, as {"ids": […]}. */ -}}
{{- define "jumpstream.organizations" -}}
{{- $ids := list -}}
{{- range .Values.config.accounts -}}
{{- range .organizations }}{{ if ne . "*" }}{{ $ids = append $ids (lower .) }}{{ end }}{{ end -}}
{{- end -}}
{{- dict "ids" $ids | toJson -}}
{{- end -}}
