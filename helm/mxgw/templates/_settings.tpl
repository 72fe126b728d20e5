{{/* gateway.yaml of a pod, without its hostname where that comes by a variable. dict "root" . "hostname" "" */}}
{{- define "mxgw.settings" -}}
{{- $v := .root.Values -}}
{{- $port := include "mxgw.smtpPort" .root -}}
{{- $listeners := list -}}
{{- range $family := $v.listenFamilies -}}
  {{- $listener := dict "name" (printf "smtp-%s" (lower $family)) "address" (printf "%s:%s" (ternary "0.0.0.0" "[::]" (eq $family "IPv4")) $port) -}}
  {{- if $v.proxyProtocol.enabled -}}
    {{- $proxy := dict "trusted" $v.proxyProtocol.trusted "header" $v.proxyProtocol.header "direct" $v.proxyProtocol.direct -}}
    {{- $_ := set $listener "proxy_protocol" $proxy -}}
  {{- end -}}
  {{- $listeners = append $listeners $listener -}}
{{- end -}}
{{- $host := include "mxgw.adminHost" .root -}}
{{- $admin := dict -}}
{{- if $host -}}{{- $_ := set $admin "address" (printf (ternary "[%s]:%v" "%s:%v" (contains ":" $host)) $host $v.admin.port) -}}{{- end -}}
{{- $settings := dict
  "listeners" $listeners
  "routes" $v.routes
  "admin" $admin
  "state_dir" "/var/lib/mxgw"
  "spool_dir" "/tmp"
  "workers" $v.workers
  "log" (dict "format" "json")
  "limits" (dict "drain_settle" $v.drain.settleSeconds "drain_timeout" $v.drain.timeoutSeconds)
-}}
{{- with .hostname -}}{{- $_ := set $settings "hostname" . -}}{{- end -}}
{{- $_ := set $settings "authserv_id" ($v.authservId | default $v.hostname.value) -}}
{{- if include "mxgw.tlsSecret" .root -}}
  {{- $_ := set $settings "tls" (dict "certificate" "/etc/mxgw/tls/tls.crt" "key" "/etc/mxgw/tls/tls.key") -}}
{{- end -}}
{{- if or $v.policy.inline $v.policy.existingConfigMap -}}
  {{- $_ := set $settings "policy" "/etc/mxgw/policy/policy.yaml" -}}
{{- end -}}
{{- if eq $v.redis.mode "bundled" -}}
  {{- $_ := set $settings "store" (printf "redis://%s-redis:6379/0" (include "mxgw.fullname" .root)) -}}
{{- else if and (eq $v.redis.mode "external") $v.redis.url -}}
  {{- $_ := set $settings "store" $v.redis.url -}}
{{- end -}}
{{- if $v.dns.unbound.enabled -}}
  {{- $_ := set $settings "dns" (dict "servers" (list (printf "127.0.0.1:%v" $v.dns.unbound.port))) -}}
{{- else if $v.dns.servers -}}
  {{- $_ := set $settings "dns" (dict "servers" $v.dns.servers) -}}
{{- end -}}
{{- if $v.arc.existingSecret -}}
  {{- $_ := set $settings "arc" (dict "seal" (dict "domain" $v.arc.domain "selector" $v.arc.selector "key" "/etc/mxgw/arc/arc.pem")) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $settings (deepCopy $v.settings)) -}}
{{- end -}}

{{/* The data of the ConfigMap with the settings. */}}
{{- define "mxgw.settingsData" -}}
{{- if .Values.hostname.nodes -}}
{{- range $node, $name := .Values.hostname.nodes }}
{{ $node }}.yaml: |
{{ include "mxgw.settings" (dict "root" $ "hostname" $name) | indent 2 }}
{{- end }}
{{- else -}}
gateway.yaml: |
{{ include "mxgw.settings" (dict "root" . "hostname" .Values.hostname.value) | indent 2 }}
{{- end -}}
{{- end -}}
