package cloudtrail

import (
	"sync"

	"golang.org/x/time/rate"

	"arca/internal/call"
)

// awsLookupsPerSecond is AWS's quota, for each account and region.
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
const awsLookupsPerSecond = 2

// limiter keeps a token bucket for each account and region that has asked. It holds one
// second's worth and runs on real time: moving a development clock grants no requests.
type limiter struct {
	perSecond float64 // negative: no limit

	mu      *sync.Mutex
	buckets map[bucket]*rate.Limiter // guarded by mu; bounded by accounts × regions
}

type bucket struct{ account, region string }

func newLimiter(perSecond float64) limiter {
	if perSecond == 0 {
		perSecond = awsLookupsPerSecond
	}
	return limiter{perSecond: perSecond, mu: new(sync.Mutex), buckets: make(map[bucket]*rate.Limiter)}
}

// allow takes a token for the caller, or says that there is none.
func (l *limiter) allow(c *call.Call) bool {
	if l.perSecond < 0 {
		return true
	}
	k := bucket{c.Caller.Account, c.Region}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[k]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(l.perSecond), max(1, int(l.perSecond)))
		l.buckets[k] = b
	}
	return b.Allow()
}
