{{/* The pod of a DaemonSet and of a Deployment. */}}
{{- define "mxgw.pod" -}}
{{- $v := .Values -}}
{{- $full := include "mxgw.fullname" . -}}
{{- $host := include "mxgw.hostNetwork" . -}}
metadata:
  labels:
    {{- include "mxgw.labels" (dict "root" . "component" "node") | nindent 4 }}
    {{- with $v.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # the settings are read at the start; certificates are read again when they change, so they stand not here
    checksum/settings: {{ printf "%s%s" (include "mxgw.settingsData" .) (toYaml $v.policy.inline) | sha256sum }}
    kubectl.kubernetes.io/default-container: mxgw
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "mxgw.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $v.terminationGracePeriodSeconds }}
  {{- if $host }}
  hostNetwork: true
  {{- end }}
  dnsPolicy: {{ $v.dns.policy | default (ternary "ClusterFirstWithHostNet" "ClusterFirst" (eq $host "true")) }}
  {{- with $v.dns.config }}
  dnsConfig: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $v.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml $v.topologySpreadConstraints | nindent 4 }}
  {{- else if eq $v.kind "Deployment" }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "mxgw.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  securityContext: {{- toYaml $v.podSecurityContext | nindent 4 }}
  {{- if $v.dns.unbound.enabled }}
  initContainers:
    - name: resolver
      image: {{ $v.dns.unbound.image }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      # one that always restarts starts before the node and ends after it
      restartPolicy: Always
      command: [unbound, -d, -c, /etc/mxgw-unbound/unbound.conf]
      # it listens on the pod's loopback, where kubelet cannot knock; the node starts when it answers
      startupProbe:
        exec: {command: &asked [unbound-control, -c, /etc/mxgw-unbound/unbound.conf, status]}
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 60
      livenessProbe:
        exec: {command: *asked}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      securityContext: {{- toYaml $v.securityContext | nindent 8 }}
      resources: {{- toYaml $v.dns.unbound.resources | nindent 8 }}
      volumeMounts:
        - {name: unbound, mountPath: /etc/mxgw-unbound, readOnly: true}
        - {name: unbound-tmp, mountPath: /tmp}
  {{- end }}
  containers:
    - name: mxgw
      image: {{ include "mxgw.image" . }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [run, --config, /etc/mxgw/gateway.yaml]
      env:
        - name: NODE_NAME
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        # the name in the cluster, of each pod its own; `hostname` may be one for all
        - name: MXGW_NODE
          valueFrom: {fieldRef: {fieldPath: {{ eq $v.kind "Deployment" | ternary "metadata.name" "spec.nodeName" }}}}
        {{- if not (include "mxgw.adminHost" .) }}
        - name: HOST_IP
          valueFrom: {fieldRef: {fieldPath: status.hostIP}}
        - name: MXGW_ADMIN_ADDRESS
          value: "[$(HOST_IP)]:{{ $v.admin.port }}"
        {{- end }}
        {{- with $v.hostname.suffix }}
        - name: MXGW_HOSTNAME
          value: $(NODE_NAME){{ . }}
        {{- end }}
        {{- if and (eq $v.redis.mode "external") $v.redis.existingSecret }}
        - name: MXGW_STORE
          valueFrom: {secretKeyRef: {name: {{ $v.redis.existingSecret }}, key: {{ $v.redis.existingSecretKey }}}}
        {{- end }}
        {{- with $v.secret.existingSecret }}
        - name: MXGW_SECRET
          valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $v.secret.existingSecretKey }}}}
        {{- end }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $v.extraEnvFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: smtp
          containerPort: {{ include "mxgw.smtpPort" . }}
          {{- if has $v.exposure.mode (list "hostPort" "hostNetwork") }}
          hostPort: {{ $v.exposure.port }}
          {{- end }}
          protocol: TCP
        - name: admin
          containerPort: {{ $v.admin.port }}
          {{- if $host }}
          hostPort: {{ $v.admin.port }}
          {{- end }}
          protocol: TCP
      {{- $target := include "mxgw.probed" . | fromYaml }}
      startupProbe:
        httpGet: {{- merge (dict "path" "/readyz") $target | toYaml | nindent 10 }}
        {{- toYaml $v.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {{- merge (dict "path" "/healthz") $target | toYaml | nindent 10 }}
        {{- toYaml $v.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {{- merge (dict "path" "/readyz") $target | toYaml | nindent 10 }}
        {{- toYaml $v.probes.readiness | nindent 8 }}
      {{- with $v.drain.preStopSeconds }}
      lifecycle:
        preStop:
          exec:
            # not the sleep of newer Kubernetes: 1.29 does not have it
            command: [/opt/mxgw/bin/python, -c, "import time; time.sleep({{ . }})"]
      {{- end }}
      securityContext: {{- toYaml $v.securityContext | nindent 8 }}
      resources: {{- toYaml $v.resources | nindent 8 }}
      volumeMounts:
        {{- if $v.hostname.nodes }}
        - name: settings
          mountPath: /etc/mxgw/gateway.yaml
          subPathExpr: $(NODE_NAME).yaml
          readOnly: true
        {{- else }}
        - name: settings
          mountPath: /etc/mxgw/gateway.yaml
          subPath: gateway.yaml
          readOnly: true
        {{- end }}
        {{- if or $v.policy.inline $v.policy.existingConfigMap }}
        - {name: policy, mountPath: /etc/mxgw/policy, readOnly: true}
        {{- end }}
        {{- if include "mxgw.tlsSecret" . }}
        # a whole folder: files that are mounted alone are never renewed
        - {name: tls, mountPath: /etc/mxgw/tls, readOnly: true}
        {{- end }}
        {{- if $v.arc.existingSecret }}
        - {name: arc, mountPath: /etc/mxgw/arc, readOnly: true}
        {{- end }}
        - {name: state, mountPath: /var/lib/mxgw}
        - {name: tmp, mountPath: /tmp}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: settings
      configMap: {name: {{ $full }}}
    {{- if $v.policy.existingConfigMap }}
    - name: policy
      configMap:
        name: {{ $v.policy.existingConfigMap }}
        items: [{key: {{ $v.policy.key }}, path: policy.yaml}]
    {{- else if $v.policy.inline }}
    - name: policy
      configMap: {name: {{ $full }}-policy}
    {{- end }}
    {{- with include "mxgw.tlsSecret" . }}
    - name: tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $v.arc.existingSecret }}
    - name: arc
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items: [{key: {{ $v.arc.existingSecretKey }}, path: arc.pem}]
    {{- end }}
    - name: state
      {{- if $v.state.hostPath }}
      # kubelet would make it for root alone, whatever fsGroup says, and the pods are not root
      hostPath: {path: {{ $v.state.hostPath }}, type: Directory}
      {{- else }}
      emptyDir: {sizeLimit: {{ $v.state.sizeLimit }}}
      {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: {{ $v.spool.sizeLimit }}}
    {{- if $v.dns.unbound.enabled }}
    - name: unbound
      configMap: {name: {{ $full }}-unbound}
    - name: unbound-tmp
      emptyDir: {sizeLimit: 16Mi}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
