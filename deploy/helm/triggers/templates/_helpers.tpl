{{- define "triggers.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "triggers.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "triggers.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "triggers.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "triggers.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "triggers.selector" . }}
{{- end }}

{{- define "triggers.selector" -}}
app.kubernetes.io/name: {{ include "triggers.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "triggers.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "triggers.secret" -}}
{{ required "secret.name: make a Secret with api-key, admin-key and secret-key, and name it here" .Values.secret.name }}
{{- end }}

{{- /* One variable from the Secret: (list context variable key) */ -}}
{{- define "triggers.fromSecret" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "triggers.secret" (index . 0) }}
      key: {{ index . 2 }}
{{- end }}

{{- define "triggers.databaseEnv" -}}
{{- if eq .Values.mode "embedded" -}}
- name: TRIGGERS_DATABASE_URL
  value: sqlite:////data/triggers.db
{{- else -}}
{{ include "triggers.fromSecret" (list . "TRIGGERS_DATABASE_URL" "database-url") }}
{{- end }}
{{- end }}

{{- define "triggers.env" -}}
{{ include "triggers.databaseEnv" . }}
{{ include "triggers.fromSecret" (list . "TRIGGERS_API_KEY" "api-key") }}
{{ include "triggers.fromSecret" (list . "TRIGGERS_ADMIN_KEY" "admin-key") }}
{{ include "triggers.fromSecret" (list . "TRIGGERS_SECRET_KEY" "secret-key") }}
{{- if .Values.redis.enabled }}
{{ include "triggers.fromSecret" (list . "TRIGGERS_REDIS_URL" "redis-url") }}
{{- end }}
- name: TRIGGERS_SHUTDOWN_GRACE_S
  value: {{ .Values.shutdownGraceSeconds | quote }}
{{- range $name, $value := .Values.settings }}
- name: {{ printf "TRIGGERS_%s" (upper $name) }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The pod: (dict "root" $ "values" .Values.api "component" "api" "args" (list …) "port" 8000) */ -}}
{{- define "triggers.pod" -}}
{{- $root := .root -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "triggers.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "triggers.fullname" $root }}
  automountServiceAccountToken: false
  # Variables of a service called "triggers" would look like settings.
  enableServiceLinks: false
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  # Requests get the grace, then deliveries; before both the balancers hear of it.
  terminationGracePeriodSeconds: {{ add (mul 2 (int $root.Values.shutdownGraceSeconds)) (int $root.Values.drainSeconds) 15 }}
  containers:
    - name: triggers
      image: {{ include "triggers.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: TRIGGERS_PORT
          value: {{ .port | quote }}
        {{- include "triggers.env" $root | nindent 8 }}
      ports:
        - name: http
          containerPort: {{ .port }}
      # The first start of a version brings the schema up to date, one after a crash looks the file through.
      startupProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 300
      # Depends on nothing: a database that is away is no reason to start again.
      livenessProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 1
      {{- if .drains }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ $root.Values.drainSeconds | quote }}]
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: data
          mountPath: /data
        - name: tmp
          mountPath: /tmp
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- if .scratch }}
    - name: data
      emptyDir:
        sizeLimit: 64Mi
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if $values.affinity }}
    {{- toYaml $values.affinity | nindent 4 }}
    {{- else }}
    # Not two on one machine, if there is another.
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "triggers.selector" $root | nindent 16 }}
                app.kubernetes.io/component: {{ .component }}
    {{- end }}
{{- end }}
