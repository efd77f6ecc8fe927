// Package deploy_test checks the files that an installation is made of.
package deploy_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// TestAlertRules runs Prometheus' own checks of the rules, and their tests.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is missing; scripts/test-deps.sh installs it")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}

// TestAlertMetrics: the rules ask for metrics that exist, and each rule has a test.
func TestAlertMetrics(t *testing.T) {
	read := func(name string) []byte {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	rules, docs, tests := read("alerts.yml"), read("../docs/metrics.md"), read("alerts_test.yml")
	rules = regexp.MustCompile(`(?m)^ *#.*$`).ReplaceAll(rules, nil)
	var known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(arca_[a-z_]+)` \\| (\\w+)").FindAllSubmatch(docs, -1) {
		known = append(known, string(m[1]))
		if string(m[2]) == "histogram" {
			known = append(known, string(m[1])+"_bucket")
		}
	}
	for _, name := range regexp.MustCompile(`\barca_[a-z_]+`).FindAllString(string(rules), -1) {
		if !slices.Contains(known, name) && !bytes.Contains(rules, []byte("Look at "+name)) {
			t.Errorf("a rule asks for %s, which docs/metrics.md does not have", name)
		}
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		if !regexp.MustCompile(`alertname: ` + string(m[1]) + `\n +exp_alerts`).Match(tests) {
			t.Errorf("no test in alerts_test.yml raises %s", m[1])
		}
	}
}
