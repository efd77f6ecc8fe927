package app_test

import (
	"errors"
	"testing"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/app"
)

// Every operation of Secrets Manager counts against one of AWS's groups, and no group
// is empty. Other services' operations count against none.
func TestGroups(t *testing.T) {
	used := map[string]bool{}
	for _, op := range smapi.Service.Operations {
		group := app.GroupOf(op)
		if app.AWSRates()[group] == 0 {
			t.Errorf("%s is in group %q, of which nobody knows a rate", op.Name, group)
		}
		used[group] = true
	}
	for group := range app.AWSRates() {
		if !used[group] {
			t.Errorf("group %s has no operation", group)
		}
	}
	for _, op := range arcaapi.Service.Operations {
		if g := app.GroupOf(op); g != "" {
			t.Errorf("%s is in group %q", op.Name, g)
		}
	}
	if g := app.GroupOf(&api.Operation{Name: "TagResource", Service: &api.Service{Name: "kms"}}); g != "" {
		t.Errorf("TagResource of another service is in group %q", g)
	}
}

func TestLimiter(t *testing.T) {
	l := app.NewLimiter(map[string]float64{"create": 0.001, "get": 3})
	allowed := func(account, region string, op *api.Operation) bool {
		err := app.Limit(l, account, region, op)
		if err == nil {
			return true
		}
		aerr, ok := errors.AsType[*api.Error](err)
		if !ok || aerr.Code != api.ThrottlingException || aerr.Message != "Rate exceeded" {
			t.Errorf("error %v", err)
		}
		return false
	}
	if !allowed("1", "a", smapi.OpCreateSecret) {
		t.Error("the first call of a slow group is refused")
	}
	if allowed("1", "a", smapi.OpCreateSecret) {
		t.Error("the second call of a slow group is allowed")
	}
	if !allowed("2", "a", smapi.OpCreateSecret) || !allowed("1", "b", smapi.OpCreateSecret) {
		t.Error("accounts or regions share a budget")
	}
	for range 3 {
		if !allowed("1", "a", smapi.OpGetSecretValue) {
			t.Error("a call within a second's budget is refused")
		}
	}
	// Both are in group get; a token takes a third of a second to come back.
	if allowed("1", "a", smapi.OpDescribeSecret) && allowed("1", "a", smapi.OpGetSecretValue) && allowed("1", "a", smapi.OpGetSecretValue) {
		t.Error("calls beyond the budget are allowed")
	}
	for range 100 {
		if !allowed("1", "a", smapi.OpDeleteSecret) {
			t.Fatal("a group without a rate is limited")
		}
	}
}
