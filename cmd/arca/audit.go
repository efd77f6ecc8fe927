package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"arca/internal/admin"
	"arca/internal/trail"
)

func newAudit(env *environment) *cobra.Command {
	var endpoint string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Search the audit log, prove what it says, and check that nobody changed it",
		Long: `Search the audit log, prove what it says, and check that nobody changed it.

Every call is a line of the log, in the form of AWS CloudTrail. The lines are the leaves
of a Merkle tree that the server signs every second; docs/audit.md tells what that proves.

Without --from the commands ask a server, as the root of its first account. With --from
they read a copy of its audit_dir, and need no server.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	endpointFlag(cmd, &endpoint)
	cmd.AddCommand(
		newAuditSearch(env, &endpoint), newAuditTail(env, &endpoint), newAuditExport(env, &endpoint),
		newAuditVerify(env, &endpoint), newAuditProve(env, &endpoint),
		newAuditCheckpoint(env, &endpoint), newAuditKey(env, &endpoint),
		newAuditStatus(env, &endpoint), newAuditAcknowledge(env, &endpoint),
	)
	return cmd
}

// fromFlag is the flag of commands that can do without a server.
func fromFlag(cmd *cobra.Command, from *string) {
	cmd.Flags().StringVar(from, "from", "", "read this `folder`, a copy of an audit_dir or of one node's folder in it, and ask no server")
	_ = cmd.MarkFlagDirname("from")
}

// auditFilter are the flags that narrow a search.
type auditFilter struct {
	since, until                             string
	account, region, service, event, eventID string
	user, principal, accessKey               string
	resource, resourceType, sourceIP         string
	errorCode, text                          string
	failed, reads, changes                   bool
}

func (f *auditFilter) add(cmd *cobra.Command, times bool) {
	if times {
		cmd.Flags().StringVar(&f.since, "since", "", "not before this `time`: 7d, 12h, 2026-03-01 or 2026-03-01T12:00:00Z")
		cmd.Flags().StringVar(&f.until, "until", "", "before this `time`")
	}
	cmd.Flags().StringVar(&f.account, "account", "", "the `id` of the account that an event belongs to")
	cmd.Flags().StringVar(&f.region, "region", "", "the `region` of the call")
	cmd.Flags().StringVar(&f.service, "service", "", "the called `service`: secretsmanager, kms, iam, sts, lambda, arca")
	cmd.Flags().StringVar(&f.event, "event", "", "the `name` of the event: GetSecretValue, RotationFailed, ...")
	cmd.Flags().StringVar(&f.eventID, "event-id", "", "the `id` of one event")
	cmd.Flags().StringVar(&f.user, "user", "", "the `name` of the user, or of a role's session, or root")
	cmd.Flags().StringVar(&f.principal, "principal", "", "the `ARN` of the caller")
	cmd.Flags().StringVar(&f.accessKey, "access-key", "", "the `id` of the access key that signed")
	cmd.Flags().StringVar(&f.resource, "resource", "", "the `name` or ARN of a secret, key, function, user or role")
	cmd.Flags().StringVar(&f.resourceType, "resource-type", "", "a `type` such as AWS::SecretsManager::Secret")
	cmd.Flags().StringVar(&f.sourceIP, "source-ip", "", "the `address` the call came from, or a network such as 10.0.0.0/8")
	cmd.Flags().StringVar(&f.errorCode, "error", "", "the error `code` of the answer")
	cmd.Flags().StringVar(&f.text, "text", "", "`text` that stands somewhere in the record")
	cmd.Flags().BoolVar(&f.failed, "failed", false, "only calls that were refused or failed")
	cmd.Flags().BoolVar(&f.reads, "reads", false, "only calls that change nothing")
	cmd.Flags().BoolVar(&f.changes, "changes", false, "only calls that change something")
	_ = cmd.RegisterFlagCompletionFunc("service", cobra.FixedCompletions(services(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("event", completeEvent)
}

// services are the names of the services that calls are recorded of.
func services() []string {
	return []string{"secretsmanager", "kms", "iam", "sts", "lambda", "cloudtrail", "arca"}
}

// completeEvent completes names of events with operations.
func completeEvent(_ *cobra.Command, _ []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	for _, a := range actions() {
		if _, name, ok := strings.Cut(a, ":"); ok && strings.HasPrefix(name, toComplete) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// eventSource is a service as records name it.
func (f *auditFilter) eventSource() string {
	switch {
	case f.service == "" || strings.Contains(f.service, "."):
		return f.service
	case f.service == "arca":
		return arcaEvents
	}
	return f.service + ".amazonaws.com"
}

// arcaEvents is the event source of Arca's own operations.
const arcaEvents = "arca"

// span are the times that a search is limited to, zero for none; it also refuses what
// cannot be asked for together.
func (f *auditFilter) span(cmd *cobra.Command, now time.Time) (since, until time.Time, err error) {
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"since", f.since, &since}, {"until", f.until, &until}} {
		if *t.to, err = pointInTime(t.text, now); err != nil {
			return since, until, usageError{fmt.Errorf("--%s: %w", t.flag, err), cmd.CommandPath()}
		}
	}
	if f.reads && f.changes {
		return since, until, usageError{errors.New("--reads and --changes exclude each other"), cmd.CommandPath()}
	}
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return since, until, usageError{errors.New("--since is not before --until"), cmd.CommandPath()}
	}
	return since, until, nil
}

// pointInTime reads a time: so long ago, a date, or date and time with a zone. The zero
// time is no text.
func pointInTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := admin.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is not of the form 7d, 12h, 2026-03-01 or 2026-03-01T12:00:00Z", text)
}

// request is the search as the server is asked.
func (f *auditFilter) request(cmd *cobra.Command, now time.Time) (map[string]any, error) {
	in := make(map[string]any)
	since, until, err := f.span(cmd, now)
	if err != nil {
		return nil, err
	}
	for name, t := range map[string]time.Time{"StartTime": since, "EndTime": until} {
		if !t.IsZero() {
			in[name] = float64(t.UnixMilli()) / 1000
		}
	}
	for name, v := range map[string]string{
		"Account": f.account, "Region": f.region, "EventSource": f.eventSource(), "EventName": f.event, "EventId": f.eventID,
		"UserName": f.user, "Principal": f.principal, "AccessKeyId": f.accessKey,
		"Resource": f.resource, "ResourceType": f.resourceType,
		"SourceIpAddress": f.sourceIP, "ErrorCode": f.errorCode, "Text": f.text,
	} {
		if v != "" {
			in[name] = v
		}
	}
	if f.failed {
		in["Failed"] = true
	}
	if f.reads || f.changes {
		in["ReadOnly"] = f.reads
	}
	return in, nil
}

// filter is the search as a copy of the log is searched.
func (f *auditFilter) filter(cmd *cobra.Command, now time.Time) (trail.Filter, error) {
	since, until, err := f.span(cmd, now)
	if err != nil {
		return trail.Filter{}, err
	}
	if !until.IsZero() {
		until = until.Add(-time.Nanosecond) // the filter takes its end in
	}
	filter := trail.Filter{
		From: since, To: until, Account: f.account, Region: f.region, EventSource: f.eventSource(), EventName: f.event,
		EventID: f.eventID, UserName: f.user, Principal: f.principal, AccessKeyID: f.accessKey, Resource: f.resource,
		ResourceType: f.resourceType, SourceIP: f.sourceIP, ErrorCode: f.errorCode, Text: f.text, Failed: f.failed,
	}
	if f.reads || f.changes {
		filter.ReadOnly = &f.reads
	}
	return filter, nil
}

// auditRecord is what people want to see of a record.
type auditRecord struct {
	EventTime       string `json:"eventTime"`
	EventSource     string `json:"eventSource"`
	EventName       string `json:"eventName"`
	EventID         string `json:"eventID"`
	SourceIPAddress string `json:"sourceIPAddress"`
	ErrorCode       string `json:"errorCode"`
	ErrorMessage    string `json:"errorMessage"`
	UserIdentity    struct {
		Type        string `json:"type"`
		ARN         string `json:"arn"`
		UserName    string `json:"userName"`
		AccountID   string `json:"accountId"`
		PrincipalID string `json:"principalId"`
		InvokedBy   string `json:"invokedBy"`
	} `json:"userIdentity"`
	RequestParameters   map[string]any `json:"requestParameters"`
	AdditionalEventData struct {
		SecretID string `json:"SecretId"`
	} `json:"additionalEventData"`
	Resources []struct {
		ARN string `json:"ARN"`
	} `json:"resources"`
}

// who is the caller: account and name, or the service that acted by itself.
func (r *auditRecord) who() string {
	id := &r.UserIdentity
	for _, service := range []string{"arn:aws:iam::", "arn:aws:sts::"} {
		if rest, ok := strings.CutPrefix(id.ARN, service); ok {
			return rest
		}
	}
	return cmp.Or(id.ARN, id.InvokedBy, id.UserName, id.PrincipalID, id.AccountID)
}

// what is the operation, as policies name it.
func (r *auditRecord) what() string {
	return strings.TrimSuffix(r.EventSource, ".amazonaws.com") + ":" + r.EventName
}

// namedBy are the parameters that name what a call is about, the most telling first.
var namedBy = [...]string{
	"secretId", "name", "keyId", "functionName", "roleName", "userName", "groupName", "policyArn", "policyName",
	"roleArn", "aliasName", "account", "principal",
}

// about is what the call was for: as the record's resources have it, or as the caller
// named it.
func (r *auditRecord) about() string {
	if len(r.Resources) > 0 {
		return lastOfARN(r.Resources[0].ARN)
	}
	if r.AdditionalEventData.SecretID != "" {
		return lastOfARN(r.AdditionalEventData.SecretID)
	}
	for _, name := range namedBy {
		if v, ok := r.RequestParameters[name].(string); ok && v != "" {
			return lastOfARN(v)
		}
	}
	return ""
}

// lastOfARN is an ARN without what all ARNs here begin with: arn:aws:service:region:account.
func lastOfARN(s string) string {
	if parts := strings.SplitN(s, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		return parts[5]
	}
	return s
}

// result is the error code, or that there was none.
func (r *auditRecord) result() string {
	switch {
	case r.ErrorCode != "":
		return r.ErrorCode
	case r.ErrorMessage != "": // of a service event, which has no code
		return "failed"
	}
	return "ok"
}

// columns are the record's row in a table.
func (r *auditRecord) columns() []string {
	row := []string{r.EventTime, r.who(), r.what(), r.about(), r.result(), r.SourceIPAddress, r.EventID}
	for i, text := range row {
		row[i] = orDash(printable(text))
	}
	return row
}
