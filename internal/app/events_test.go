package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"arca/internal/app"
	"arca/internal/compliance"
)

// What is asked about an event of compliance before it is made must be part of it: else
// somebody who wants it would never be told.
func TestComplianceEventParts(t *testing.T) {
	for _, rule := range compliance.Rules() {
		for _, state := range []compliance.State{compliance.Compliant, compliance.NonCompliant, compliance.NotApplicable} {
			e, part, err := app.ComplianceEvent(compliance.Change{
				Time: time.Now(), Rule: rule, New: state, Account: "111111111111", Region: "eu-central-1",
				SecretARN: "arn:aws:secretsmanager:eu-central-1:111111111111:secret:s-AbCdEf", SecretName: "s",
			})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := e.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var whole, some map[string]any
			if err := json.Unmarshal(raw, &whole); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(part, &some); err != nil {
				t.Fatal(err)
			}
			if len(some) < 3 || !within(some, whole) {
				t.Errorf("%s is not part of %s", part, raw)
			}
		}
	}
}

// within says that all members of an object are those of another one.
func within(part, whole map[string]any) bool {
	for name, is := range part {
		if object, ok := is.(map[string]any); ok {
			other, _ := whole[name].(map[string]any)
			if !within(object, other) {
				return false
			}
		} else if !reflect.DeepEqual(is, whole[name]) {
			return false
		}
	}
	return true
}

// A rule gets the changes of compliance that it asks for, and no others.
func TestComplianceEvents(t *testing.T) {
	var mu sync.Mutex
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, string(body))
	}))
	defer hook.Close()
	secret := filepath.Join(t.TempDir(), "hook.secret")
	if err := os.WriteFile(secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := serverConfig(t, func(c *app.Config) {
		c.Webhooks = []app.WebhookConfig{{Name: "hook", URL: hook.URL, SecretFiles: []string{secret}}}
		c.Events = []app.EventConfig{{Name: "customer-keys", Webhooks: []string{"hook"},
			Pattern: `{"source":["aws.config"],"detail":{"configRuleName":["secretsmanager-using-cmk"],"newEvaluationResult":{"complianceType":["NON_COMPLIANT"]}}}`}}
	})
	a, _ := start(t, cfg, app.ServerSecrets{})
	root := loadCredentials(t, cfg.CredentialsFile)
	c := client(a.URL(), root.AccessKeyID, root.SecretAccessKey)
	seen := func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(got) }
	n := 0
	eventually(t, "an event", func() bool {
		// What was there before all had been looked at for the first time is no change.
		n++
		if err := works(t, c, fmt.Sprint("s", n)); err != nil {
			t.Fatal(err)
		}
		return len(seen()) > 0
	})
	for _, e := range seen() {
		if !strings.Contains(e, `"secretsmanager-using-cmk"`) || !strings.Contains(e, `"NON_COMPLIANT"`) {
			t.Errorf("event %s, want those of the rule alone", e)
		}
	}
}
