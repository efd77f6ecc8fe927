package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/audit"
)

func TestContains(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(id string, hours int) []byte {
		r := record(id)
		r.EventTime = begin.Add(time.Duration(hours) * time.Hour)
		return r.AppendLine(nil, "n1")
	}
	l, _ := start(t, audit.Config{Dir: dir, MaxSegmentBytes: int64(3 * len(at("h00", 0)))})
	for i := range 30 {
		if err := l.Append(t.Context(), at(fmt.Sprintf("h%02d", i), i)); err != nil {
			t.Fatal(err)
		}
	}
	forged := record("real")
	forged.EventTime = begin.Add(30 * time.Hour)
	forged.RequestParameters = []byte(`{"encryptionContext":{"eventID":"forged-by-parameter","eventTime":"2030-01-01T00:00:00Z"}}`)
	forged.UserAgent = `","eventID":"forged-by-agent`
	if err := l.Append(t.Context(), forged.AppendLine(nil, "n1")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		since int
		ids   []string
		want  map[string]bool
	}{
		{"nothing asked", 0, nil, map[string]bool{}},
		{"newest", 30, []string{"real"}, map[string]bool{"real": true}},
		{"some", 0, []string{"h00", "h29", "h30"}, map[string]bool{"h00": true, "h29": true, "h30": false}},
		{"as far as asked", 10, []string{"h10", "h20"}, map[string]bool{"h10": true, "h20": true}},
		{"not further", 20, []string{"h02", "h20"}, map[string]bool{"h02": false, "h20": true}},
		{"lies in other members", 0, []string{"forged-by-parameter", "forged-by-agent", "real"},
			map[string]bool{"forged-by-parameter": false, "forged-by-agent": false, "real": true}},
		{"from the future", 1000, []string{"real", "h29"}, map[string]bool{"real": true, "h29": false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := l.Contains(t.Context(), begin.Add(time.Duration(tt.since)*time.Hour), tt.ids)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Contains (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanStops(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, firstSegment), append(line("a"), '\n'))
	put(t, filepath.Join(dir, "00000000000000000002.jsonl"), append(line("b"), '\n'))
	err := audit.Scan(t.Context(), dir, 0, func(uint64, []byte) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "lines 1 to 1 are missing") {
		t.Errorf("Scan over a gap = %v", err)
	}
	mine := errors.New("enough")
	if err := audit.Scan(t.Context(), dir, 0, func(uint64, []byte) error { return mine }); err != mine {
		t.Errorf("Scan = %v, want the function's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := audit.Scan(ctx, dir, 0, func(uint64, []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan after cancel = %v", err)
	}
	if err := audit.Scan(t.Context(), filepath.Join(dir, "none"), 0, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Scan of nothing = %v", err)
	}
}
