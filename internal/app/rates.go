package app

import (
	"maps"
	"slices"
	"sync"

	"golang.org/x/time/rate"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
)

// groupOf maps operations to AWS's quota groups (Secrets Manager quotas page): one
// budget for each group, account and region. "" is for operations without one.
func groupOf(op *api.Operation) string {
	if op.Service != smapi.Service {
		return "" // another service's TagResource is another operation
	}
	switch op.Name {
	case "DeleteResourcePolicy", "GetResourcePolicy", "PutResourcePolicy", "ValidateResourcePolicy":
		return "resource_policy"
	case "PutSecretValue", "RemoveRegionsFromReplication", "ReplicateSecretToRegions",
		"StopReplicationToReplica", "UpdateSecret", "UpdateSecretVersionStage":
		return "update"
	case "RotateSecret", "CancelRotateSecret":
		return "rotate"
	case "TagResource", "UntagResource":
		return "tag"
	case "RestoreSecret":
		return "restore"
	case "CreateSecret":
		return "create"
	case "DeleteSecret":
		return "delete"
	case "GetRandomPassword":
		return "random_password"
	case "BatchGetSecretValue":
		return "batch_get"
	case "DescribeSecret", "GetSecretValue":
		return "get"
	case "ListSecrets", "ListSecretVersionIds":
		return "list"
	}
	return ""
}

// awsRates are AWS's own figures, in requests per second; the groups are their names.
func awsRates() map[string]float64 {
	return map[string]float64{
		"resource_policy": 50, "update": 50, "rotate": 50, "tag": 50, "restore": 50,
		"create": 50, "delete": 50, "random_password": 50, "batch_get": 100, "get": 10000, "list": 50,
	}
}

func rateGroups() []string { return slices.Sorted(maps.Keys(awsRates())) }

// limiter keeps one token bucket for each limited group, account and region. The
// account is the caller's, as with AWS. A bucket holds one second's worth.
type limiter struct {
	rates map[string]float64

	mu      sync.Mutex
	buckets map[bucket]*rate.Limiter // guarded by mu; bounded by accounts × regions × groups
}

type bucket struct{ account, region, group string }

func newLimiter(rates map[string]float64) *limiter {
	return &limiter{rates: rates, buckets: make(map[bucket]*rate.Limiter)}
}

// Limit refuses the call with AWS's throttling error when its group has used up its
// budget. Buckets run on real time: moving a development clock grants no requests.
func (l *limiter) Limit(c *call.Call) error {
	group := groupOf(c.Op)
	perSecond, ok := l.rates[group]
	if !ok {
		return nil
	}
	k := bucket{c.Caller.Account, c.Region, group}
	l.mu.Lock()
	b := l.buckets[k]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
		l.buckets[k] = b
	}
	l.mu.Unlock()
	if !b.Allow() {
		return c.Op.Service.Throttled.Errorf("Rate exceeded")
	}
	return nil
}
