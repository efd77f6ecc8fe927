package trail_test

import (
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
	"arca/internal/trail"
)

var exportName = regexp.MustCompile(`^AWSLogs/(\d{12})/CloudTrail/([a-z0-9-]+)/\d{4}/\d\d/\d\d/(\d{12})_CloudTrail_([a-z0-9-]+)_\d{8}T\d{4}Z_[A-Z0-9]{16}\.json\.gz$`)

// exported reads all files below dir: the ids of events, and the files with their bytes.
func exported(t *testing.T, dir string) (ids map[string]bool, files map[string]string, own int) {
	t.Helper()
	ids, files = map[string]bool{}, map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		must(t, err)
		m := exportName.FindStringSubmatch(name)
		if m == nil || m[1] != m[3] || m[2] != m[4] {
			t.Errorf("file %s has no name of CloudTrail", name)
			return nil
		}
		raw, err := os.ReadFile(path)
		must(t, err)
		files[name] = string(raw)
		z, err := gzip.NewReader(strings.NewReader(string(raw)))
		must(t, err)
		var content struct{ Records []map[string]any }
		must(t, json.NewDecoder(z).Decode(&content))
		for _, r := range content.Records {
			ids[r["eventID"].(string)] = true
			if r["arca"] != nil {
				own++
			}
			at, err := time.Parse(time.RFC3339, r["eventTime"].(string))
			must(t, err)
			if r["recipientAccountId"] != m[1] || r["awsRegion"] != m[2] || !strings.Contains(name, at.Format("/2006/01/02/")) {
				t.Errorf("event %v is in %s", r["eventID"], name)
			}
		}
		return nil
	}))
	return ids, files, own
}

func TestExport(t *testing.T) {
	b := newBed(t, filepath.Join(t.TempDir(), "n1"))
	fill(b)
	b.append(50, func(n int, r *audit.Record) { r.EventTime = epoch.Add(20*time.Hour + time.Duration(n)*time.Second) })
	dir := filepath.Join(t.TempDir(), "out")
	report, err := b.trail.Export(t.Context(), trail.ExportConfig{Dir: dir})
	must(t, err)
	ids, files, own := exported(t, dir)
	if len(ids) != 350 || report.Events != 350 || own != 0 || report.Files != len(files) || len(files) != 3 {
		t.Errorf("export = %+v, with %d events in %d files, %d of them with our member; want 350 in 3, none", report, len(ids), len(files), own)
	}

	// Again, after one file was lost: only that is written.
	for name := range files {
		must(t, os.Remove(filepath.Join(dir, name)))
		break
	}
	report, err = b.trail.Export(t.Context(), trail.ExportConfig{Dir: dir})
	must(t, err)
	_, again, _ := exported(t, dir)
	if diff := cmp.Diff(files, again); diff != "" || report.Files != 1 || report.Present != 2 {
		t.Errorf("second export = %+v, want one file written, the others present (-want +got):\n%s", report, diff)
	}

	dir = filepath.Join(t.TempDir(), "some")
	report, err = b.trail.Export(t.Context(), trail.ExportConfig{
		Dir: dir, KeepOwn: true, Filter: trail.Filter{Account: "999988887777"},
	})
	must(t, err)
	if ids, _, own := exported(t, dir); len(ids) != 6 || own != 6 || report.Events != 6 {
		t.Errorf("export of one account = %+v, %d events, %d with our member, want six", report, len(ids), own)
	}
}
