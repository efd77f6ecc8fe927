package app_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"arca/internal/app"
)

// documented reads the tables of docs/metrics.md: by name, the type and the labels.
func documented(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`arca_") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if out[name] != "" {
			t.Errorf("docs/metrics.md has %s twice", name)
		}
		var labels []string
		for label := range strings.SplitSeq(cells[3], ",") {
			if label = strings.Trim(label, " `"); label != "" {
				labels = append(labels, label)
			}
		}
		slices.Sort(labels)
		out[name] = fmt.Sprint(strings.TrimSpace(cells[2]), labels)
		if strings.TrimSpace(cells[4]) == "" {
			t.Errorf("docs/metrics.md does not say what %s means", name)
		}
	}
	return out
}

// described reads what a registry knows of its metrics whether or not they have samples:
// by name, the labels. It also finds metrics without a help text.
func described(t *testing.T, r *prometheus.Registry) map[string][]string {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() { r.Describe(ch); close(ch) }()
	text := regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*)", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	out := make(map[string][]string)
	for d := range ch {
		m := text.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if !strings.HasPrefix(m[1], "arca_") {
			continue
		}
		if m[2] == "" {
			t.Errorf("%s has no help", m[1])
		}
		labels := []string{}
		for _, c := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[3], -1) {
			labels = append(labels, c[1])
		}
		for _, v := range strings.Split(m[4], ",") {
			if v = strings.TrimPrefix(v, "c("); v != "" {
				labels = append(labels, strings.TrimSuffix(v, ")"))
			}
		}
		slices.Sort(labels)
		out[m[1]] = labels
	}
	return out
}

// TestMetricsDocumented: docs/metrics.md and a server know the same metrics, with the same
// types and labels.
func TestMetricsDocumented(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) {
		c.OpsListen, c.TLS.Off = "127.0.0.1:0", false
	})
	a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	run(t, a)
	docs := documented(t)
	known := described(t, app.Registry(a))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		said, ok := docs[name]
		if !ok {
			t.Errorf("docs/metrics.md lacks %s %v", name, known[name])
			continue
		}
		if _, labels, _ := strings.Cut(said, "["); labels != strings.TrimPrefix(fmt.Sprint(known[name]), "[") {
			t.Errorf("%s has the labels %v, and docs/metrics.md says %s", name, known[name], said)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if _, ok := known[name]; !ok {
			t.Errorf("docs/metrics.md has %s, and a server has not", name)
		}
	}

	// What has samples shows its type, too.
	families, err := app.Registry(a).Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, f := range families {
		if name := f.GetName(); strings.HasPrefix(name, "arca_") {
			seen[name] = strings.ToLower(f.GetType().String())
			if kind, _, _ := strings.Cut(docs[name], "["); kind != seen[name] {
				t.Errorf("%s is a %s, and docs/metrics.md says %s", name, seen[name], kind)
			}
			if total := strings.HasSuffix(name, "_total"); total != (seen[name] == "counter") {
				t.Errorf("%s is a %s", name, seen[name])
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("a server shows %d metrics of its own", len(seen))
	}
}

// TestMetricsOfAServer: what a server tells about itself, and that it names nothing that
// belongs to its users.
func TestMetricsOfAServer(t *testing.T) {
	cfg := serverConfig(t, func(c *app.Config) { c.OpsListen, c.Version = "127.0.0.1:0", "v1.2.3" })
	a, _ := start(t, cfg, app.ServerSecrets{})
	creds := loadCredentials(t, cfg.CredentialsFile)
	const name = "a/name/of/a/secret"
	if err := works(t, client(a.URL(), creds.AccessKeyID, creds.SecretAccessKey), name); err != nil {
		t.Fatal(err)
	}
	for _, operation := range []string{"NoSuchOperation", "Get" + strings.Repeat("x", 100)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL(), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "secretsmanager."+operation)
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	status, text := get(t, "http://"+a.OpsAddr()+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics answered %d", status)
	}
	for _, want := range []string{
		`arca_build_info{go="`, `version="v1.2.3"`, `arca_root_key_reachable{kind="file"} 1`,
		`arca_resource_count{class="None",resource="SecretCount",service="Secrets Manager",type="Resource"} 1`,
		`arca_store_records{table="secret"} 1`, `arca_store_has_leader 1`, `arca_store_watching 1`,
		`arca_kms_keys{manager="AWS",state="Enabled"} 1`, `arca_unverified_requests_total{reason="operation"} 2`,
		"process_start_time_seconds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	for _, not := range []string{name, creds.AccountID, creds.AccessKeyID, "NoSuchOperation", "xxxx", a.Addr()} {
		if strings.Contains(text, not) {
			t.Errorf("metrics name %s", not)
		}
	}
}

// TestRootKeyGone: a server that runs tells that its root key is gone.
func TestRootKeyGone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.key")
	cfg := serverConfig(t, func(c *app.Config) { c.RootKey.File = file })
	a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	run(t, a)
	tried := func() float64 {
		t.Helper()
		app.TryRootKey(t.Context(), a)
		families, err := app.Registry(a).Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "arca_root_key_reachable" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no arca_root_key_reachable")
		return 0
	}
	got := []float64{tried()}
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	got = append(got, tried())
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{1, 0, 1}, append(got, tried())); diff != "" {
		t.Errorf("arca_root_key_reachable there, away, there (-want +got):\n%s", diff)
	}
}
