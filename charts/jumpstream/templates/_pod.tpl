{{- /* What all pods have in common: the replicas and the test. */ -}}

{{- define "jumpstream.podSecurity" -}}
serviceAccountName: {{ include "jumpstream.serviceAccountName" . }}
automountServiceAccountToken: false
# Else JUMPSTREAM_SERVICE_HOST and its like would be taken for overrides of the configuration.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "jumpstream.container" -}}
image: {{ include "jumpstream.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- with .Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq (include "jumpstream.state" .) "sqlite" }}
# Relative paths of the configuration lie on the claim.
workingDir: /var/lib/jumpstream
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/jumpstream
    readOnly: true
  {{- range $name, $_ := .Values.secrets }}
  - name: secret-{{ $name }}
    mountPath: /run/secrets/{{ $name }}
    readOnly: true
  {{- end }}
  {{- if eq (include "jumpstream.state" .) "sqlite" }}
  - name: state
    mountPath: /var/lib/jumpstream
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Without the claim, which the replicas and the test have differently. */ -}}
{{- define "jumpstream.volumes" -}}
- name: config
  configMap:
    name: {{ include "jumpstream.fullname" . }}
{{- range $name, $secret := .Values.secrets }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $secret.secretName }}
    # For our group alone: jumpstream complains of secrets that everybody may read.
    defaultMode: 0440
    {{- with $secret.items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* A replica. */ -}}
{{- define "jumpstream.pod" -}}
metadata:
  annotations:
    # The configuration is read once, so a change replaces the pods. Secrets are watched, and have no checksum here.
    checksum/config: {{ include "jumpstream.configuration" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "jumpstream.labels" . | nindent 4 }}
    app.kubernetes.io/component: collector
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "jumpstream.podSecurity" . | nindent 2 }}
  # Above the 12 s that a commit in flight may take: see values.yaml.
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- include "jumpstream.scheduling" . | nindent 2 }}
  containers:
    - name: jumpstream
      args: [run, --config, /etc/jumpstream/jumpstream.yaml]
      {{- include "jumpstream.container" . | nindent 6 }}
      ports:
        - name: metrics
          containerPort: {{ include "jumpstream.port" . }}
      startupProbe:
        httpGet: {path: /livez, port: metrics}
        periodSeconds: {{ .Values.probes.startup.periodSeconds }}
        failureThreshold: {{ .Values.probes.startup.failureThreshold }}
      livenessProbe:
        httpGet: {path: /livez, port: metrics}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "jumpstream.volumes" . | nindent 4 }}
    {{- if eq (include "jumpstream.state" .) "sqlite" }}
    {{- if .Values.persistence.existingClaim }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ .Values.persistence.existingClaim }}
    {{- else if not .Values.persistence.enabled }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- end }}
{{- end -}}

{{- define "jumpstream.scheduling" -}}
{{- $selector := include "jumpstream.selectorLabels" . | fromYaml -}}
{{- if not (kindIs "invalid" .Values.topologySpreadConstraints) }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- else if eq (include "jumpstream.state" .) "kafka" }}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    # A replica on the same node is better than none.
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- toYaml $selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The file that jumpstream reads. */ -}}
{{- define "jumpstream.configuration" -}}
{{- toYaml .Values.config -}}
{{- end -}}
