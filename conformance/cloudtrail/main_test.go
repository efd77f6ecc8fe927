// Package cloudtrail_test says what CloudTrail answers to LookupEvents, with the client
// that AWS publishes. Texts of errors are not known, so cases check code and status.
package cloudtrail_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"arca/conformance/identity"
	"arca/conformance/target"
)

// shared is set once, before the tests.
var shared *target.Target

func TestMain(m *testing.M) {
	os.Exit(target.Main(m, func(t *target.Target) { shared = t }))
}

// client is one that waits when it has asked too often: two lookups a second is what an
// account gets in a region.
func client(c *identity.Caller, change ...func(o *cloudtrail.Options)) *cloudtrail.Client {
	return cloudtrail.NewFromConfig(c.Config, append([]func(o *cloudtrail.Options){func(o *cloudtrail.Options) {
		o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 30)
		o.Retryer = retry.AddWithMaxBackoffDelay(o.Retryer, time.Second)
	}}, change...)...)
}

// account is one whose history holds nothing but what the test does: a new one, or on
// AWS the one there is.
func account(k *identity.Kit) *identity.Account {
	if shared.AWS {
		return k.Account
	}
	return k.Other()
}

func by(key types.LookupAttributeKey, value string) *cloudtrail.LookupEventsInput {
	return &cloudtrail.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: key, AttributeValue: &value}}}
}

// patience is how long events may take to show up.
func patience() time.Duration {
	if shared.AWS {
		return 20 * time.Minute // CloudTrail says about five
	}
	return 10 * time.Second
}

// lookup asks until at least want events are there, and returns them.
func lookup(t *testing.T, c *cloudtrail.Client, in *cloudtrail.LookupEventsInput, want int) []types.Event {
	t.Helper()
	for deadline := time.Now().Add(patience()); ; {
		out, err := c.LookupEvents(t.Context(), in)
		if err != nil {
			t.Fatalf("LookupEvents: %v", err)
		}
		if len(out.Events) >= want || time.Now().After(deadline) {
			return out.Events
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Second):
		}
	}
}

// record is the record that an entry carries.
func record(t *testing.T, e types.Event) map[string]any {
	t.Helper()
	var r map[string]any
	if err := json.Unmarshal([]byte(aws.ToString(e.CloudTrailEvent)), &r); err != nil {
		t.Fatalf("CloudTrailEvent %q: %v", aws.ToString(e.CloudTrailEvent), err)
	}
	return r
}
