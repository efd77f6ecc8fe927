package policy_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"arca/internal/policy"
)

// sameDecision compares decisions by everything they tell; policies are the same when they
// are one.
var sameDecision = cmpopts.EquateComparable(&policy.Compiled{})

// An index changes no decision, not even which statement it rests on, whatever it was
// asked before.
func TestIndexDecidesAlike(t *testing.T) {
	decided := map[policy.Layer]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		ps := w.policies(t)
		if rapid.IntRange(0, 9).Draw(t, "unread") == 0 {
			ps.Identity = append(ps.Identity, policy.Source{Name: "cannot be read"})
		}
		with := *ps
		with.Index = policy.NewIndex(ps.Identity)
		for range rapid.IntRange(1, 8).Draw(t, "questions") {
			req := drawRequest(t)
			req.ResourceDecides = w.trust
			want := policy.Evaluate(req, ps)
			if diff := cmp.Diff(want, policy.Evaluate(req, &with), sameDecision); diff != "" {
				t.Fatalf("%+v with an index:\n%s", req, diff)
			}
			decided[want.Layer]++
		}
	})
	if decided[policy.IdentityLayer] == 0 {
		t.Errorf("no decision rests on what an index is of: %v", decided)
	}
}

// An index of other policies is not looked at, even if they are equal.
func TestIndexOfOthers(t *testing.T) {
	req, ps := typical(t)
	if !policy.Evaluate(req, ps).Allowed {
		t.Fatal("the typical caller is denied")
	}
	deny := mustIdentity(t, `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)
	ps.Index = policy.NewIndex([]policy.Source{deny})
	if !policy.Evaluate(req, ps).Allowed {
		t.Error("the index of another caller's policies decided")
	}
	ps.Identity = append([]policy.Source{deny}, ps.Identity...)
	ps.Index = policy.NewIndex(ps.Identity[1:])
	if policy.Evaluate(req, ps).Allowed {
		t.Error("the index of some of the policies decided")
	}
}

// However many actions somebody asks about, an index stays small and right.
func TestIndexIsBounded(t *testing.T) {
	var sources []policy.Source
	for i := range 20 {
		sources = append(sources, mustIdentity(t, fmt.Sprintf(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:Put%d","Resource":"*"}]}`, i)))
	}
	ps := &policy.Policies{Identity: sources, Index: policy.NewIndex(sources)}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				req := &policy.Request{Action: fmt.Sprint("s3:Put", i), Resource: "arn:aws:s3:::a/x", Account: account, Caller: anna}
				if got := policy.Evaluate(req, ps).Allowed; got != (i >= 20) {
					t.Errorf("%s is allowed: %v", req.Action, got)
				}
			}
		})
	}
	wg.Wait()
	if actions, bytes := ps.Index.Size(); actions == 0 || bytes > 4<<10 {
		t.Errorf("the index remembers %d actions in %d bytes", actions, bytes)
	}
}
