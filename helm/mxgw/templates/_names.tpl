{{/* Names and labels. */}}
{{- define "mxgw.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "mxgw.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "mxgw.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mxgw.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mxgw.selector" -}}
app.kubernetes.io/name: {{ include "mxgw.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{/* dict "root" . "component" "node" */}}
{{- define "mxgw.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "mxgw.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mxgw.image" -}}
{{- $repository := required "image.repository: name the image that you have built from deploy/container" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "mxgw.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "mxgw.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The job in Prometheus: one for each release, and with a word in it that the alerts look for. */}}
{{- define "mxgw.job" -}}
{{- $full := include "mxgw.fullname" . -}}
{{ contains "mxgw" $full | ternary $full (printf "mxgw-%s" $full) }}
{{- end -}}

{{/* Name of the Secret with certificate and key; empty: none. */}}
{{- define "mxgw.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{ .Values.tls.existingSecret }}
{{- else if .Values.tls.certificate.create -}}
{{ include "mxgw.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- define "mxgw.hostNetwork" -}}
{{- if eq .Values.exposure.mode "hostNetwork" -}}true{{- end -}}
{{- end -}}

{{/* The port that the node listens on. */}}
{{- define "mxgw.smtpPort" -}}
{{- if include "mxgw.hostNetwork" . -}}{{ .Values.exposure.port }}{{- else -}}2525{{- end -}}
{{- end -}}

{{/* Where the admin port listens; empty: on the host's own address, which comes by a variable. */}}
{{- define "mxgw.adminHost" -}}
{{- if eq .Values.admin.address "host" -}}
{{- else if .Values.admin.address -}}
{{ .Values.admin.address }}
{{- else if include "mxgw.hostNetwork" . -}}
127.0.0.1
{{- else -}}
{{- /* probes ask the pod's own address, which is of the first family */ -}}
{{ ternary "0.0.0.0" "::" (eq (first .Values.listenFamilies) "IPv4") }}
{{- end -}}
{{- end -}}

{{/* The admin port speaks HTTPS. */}}
{{- define "mxgw.adminTls" -}}
{{- if dig "admin" "certificate" "" .Values.settings -}}true{{- end -}}
{{- end -}}

{{/* What the probes ask, but for the path. */}}
{{- define "mxgw.probed" -}}
port: admin
{{- with include "mxgw.adminHost" . }}
{{- if not (has . (list "0.0.0.0" "::")) }}
host: {{ . | quote }}
{{- end }}
{{- end }}
{{- if include "mxgw.adminTls" . }}
scheme: HTTPS
{{- end }}
{{- end -}}

{{/* Everything that no schema can say. */}}
{{- define "mxgw.checked" -}}
{{- $v := .Values -}}
{{- if not $v.routes -}}{{- fail "routes: say which domains are yours and where their mail goes" -}}{{- end -}}
{{- if not (or $v.hostname.value $v.hostname.nodes $v.hostname.suffix) -}}
{{- fail "hostname: give value (one name for all pods), nodes (one for each host) or suffix" -}}
{{- end -}}
{{- if gt (len (compact (list $v.hostname.value $v.hostname.suffix (keys $v.hostname.nodes | join " ")))) 1 -}}
{{- fail "hostname: value, nodes and suffix exclude each other" -}}
{{- end -}}
{{- if and (not $v.authservId) (not $v.hostname.value) -}}
{{- fail "authservId: the pods have names of their own, so give the one that all write into Authentication-Results" -}}
{{- end -}}
{{- if and (eq $v.kind "Deployment") (has $v.exposure.mode (list "hostPort" "hostNetwork")) -}}
{{- fail (printf "exposure.mode: %s is for a DaemonSet; a Deployment stands behind loadBalancer, nodePort or clusterIP" $v.exposure.mode) -}}
{{- end -}}
{{- if and (eq $v.kind "DaemonSet") $v.autoscaling.enabled -}}{{- fail "autoscaling.enabled: is for kind: Deployment" -}}{{- end -}}
{{- if and (eq $v.kind "DaemonSet") (gt (int $v.rollout.maxSurge) 0) -}}{{- fail "rollout.maxSurge: is for kind: Deployment" -}}{{- end -}}
{{- if and (eq $v.kind "Deployment") $v.state.hostPath -}}{{- fail "state.hostPath: is for kind: DaemonSet" -}}{{- end -}}
{{- $needed := add $v.drain.preStopSeconds $v.drain.settleSeconds $v.drain.timeoutSeconds 10 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds: must be %d or more, for what drain wants" (int $needed)) -}}
{{- end -}}
{{- if and (eq $v.redis.mode "external") (not $v.redis.url) (not $v.redis.existingSecret) -}}
{{- fail "redis: external needs url or existingSecret" -}}
{{- end -}}
{{- if and (eq $v.redis.mode "bundled") (include "mxgw.hostNetwork" .) $v.networkPolicy.enabled -}}
{{- fail "redis: with hostNetwork the nodes come from the hosts' addresses, which the bundled Redis' network policy keeps out; take external, or networkPolicy.enabled: false" -}}
{{- end -}}
{{- if and $v.tls.certificate.create $v.tls.existingSecret -}}{{- fail "tls: existingSecret and certificate.create exclude each other" -}}{{- end -}}
{{- if and $v.tls.certificate.create (not $v.tls.certificate.issuerRef.name) -}}{{- fail "tls.certificate.issuerRef: name the issuer" -}}{{- end -}}
{{- if and $v.tls.certificate.create $v.hostname.suffix (not $v.tls.certificate.dnsNames) -}}
{{- fail "tls.certificate.dnsNames: the chart does not know the hosts' names" -}}
{{- end -}}
{{- if and $v.arc.existingSecret (not (and $v.arc.domain $v.arc.selector)) -}}{{- fail "arc: domain and selector belong to the key" -}}{{- end -}}
{{- if dig "admin" "address" "" $v.settings -}}
{{- fail "settings.admin.address: say it with admin.address and admin.port, which the probes follow" -}}
{{- end -}}
{{- if and (eq $v.admin.address "host") (ne $v.exposure.mode "hostNetwork") -}}
{{- fail "admin.address: host is for exposure.mode: hostNetwork; other pods have an address of their own" -}}
{{- end -}}
{{- if and (or $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled) (has (include "mxgw.adminHost" .) (list "127.0.0.1" "::1")) -}}
{{- fail "metrics: the admin port is on a loopback address, where Prometheus does not reach it; with hostNetwork take admin.address: host" -}}
{{- end -}}
{{- if and $v.policy.inline $v.policy.existingConfigMap -}}{{- fail "policy: inline and existingConfigMap exclude each other" -}}{{- end -}}
{{- end -}}
