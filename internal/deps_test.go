package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed is the import table of docs/design/architecture.md: what each package may
// import of ours in its non-test code. The layout is the architecture: a package
// that needs more changes this table, with a reason, in the same commit.
var allowed = map[string]string{
	"arn":        "",
	"api":        "",
	"envelope":   "",
	"space":      "",
	"schedule":   "",
	"rootkey":    "envelope",
	"store":      "envelope",
	"policy":     "arn",
	"paging":     "store",
	"backup":     "envelope paging store",
	"sigv4":      "api",
	"wire":       "api",
	"merkle":     "",
	"webhook":    "",
	"audit":      "envelope merkle store",
	"trail":      "audit",
	"ship":       "audit merkle webhook",
	"event":      "audit webhook",
	"call":       "api arn policy audit store",
	"kms":        "api arn call envelope iam paging policy store",
	"iam":        "api arn call envelope paging policy store",
	"lambda":     "api arn call envelope iam paging policy store",
	"access":     "api arn call iam paging policy store",
	"egress":     "",
	"rotator":    "api egress",
	"rotation":   "arn call lambda secrets store",
	"oidc":       "egress",
	"sts":        "api arn call iam oidc policy store",
	"admin":      "access api audit backup call compliance envelope iam merkle paging policy rootkey store trail",
	"secrets":    "api arn call envelope iam kms paging policy schedule store",
	"cloudtrail": "api arn call audit paging store trail",
	"compliance": "arn schedule secrets store",
	"runner":     "api arn call egress iam lambda rotator wire",
	"lane":       "",
	"server":     "api arn call iam lane sigv4 wire",
	"app":        "access admin api arn audit backup call cloudtrail compliance egress envelope event iam kms lambda merkle oidc policy rootkey rotation rotator runner secrets server ship sigv4 space store sts trail webhook wire",
	// Test kits: what they need, and nothing but tests imports them.
	"storetest": "envelope store",
	"apptest":   "app api call envelope store",
	"oidctest":  "",
	"dbtest":    "",
	"codetest":  "api",
	"audittest": "api audit",
}

// onlyStoreImports is the module prefix that belongs to package store alone.
const onlyStoreImports = "go.etcd.io/"

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, pattern string) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", pattern).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		all = append(all, l)
	}
}

func TestImportTable(t *testing.T) {
	for _, p := range list(t, "arca/internal/...") {
		name := strings.TrimPrefix(p.ImportPath, "arca/internal/")
		if p.ImportPath == "arca/internal" {
			continue // this test
		}
		top, _, _ := strings.Cut(name, "/")
		may, ok := allowed[top]
		if !ok {
			t.Errorf("package %s is not in the import table", name)
			continue
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, onlyStoreImports) && top != "store" && top != "storetest" {
				t.Errorf("%s imports %s; only store may", name, imp)
			}
			ours, found := strings.CutPrefix(imp, "arca/internal/")
			if !found {
				continue
			}
			dep, _, _ := strings.Cut(ours, "/")
			if dep != top && !slices.Contains(strings.Fields(may), dep) {
				t.Errorf("%s imports %s; the table allows: %s", name, dep, may)
			}
		}
	}
}

// TestPurePackages: packages that promise to be pure cannot reach files, the network,
// the clock or a log.
func TestPurePackages(t *testing.T) {
	forbidden := []string{"net", "net/http", "os", "log", "log/slog", "time"}
	pure := map[string][]string{
		// what a pure package may have of the forbidden list, and why
		"arn":      {},
		"policy":   {"time", "net"},      // dates and addresses in conditions are parsed, not read
		"sigv4":    {"time", "log/slog"}, // the time is given; LogValue redacts
		"wire":     {"time", "net/http"}, // timestamps are encoded; header types
		"envelope": {"log/slog"},         // LogValue redacts
		"api":      {"log/slog", "time"}, // LogValue redacts; timestamps
		"schedule": {"time"},             // the time is given
	}
	for _, p := range list(t, "arca/internal/...") {
		name := strings.TrimPrefix(p.ImportPath, "arca/internal/")
		may, ok := pure[name]
		if !ok {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(forbidden, imp) && !slices.Contains(may, imp) {
				t.Errorf("%s imports %s, which a pure package may not", name, imp)
			}
		}
	}
}
