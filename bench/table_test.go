package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteDoc(t *testing.T) {
	rec := &record{
		Date: "2026-01-02", Commit: "abc", Machine: machine{CPU: "a processor", Cores: 2, MemoryGB: 8, Kernel: "6.1", FileSystem: "ext4"},
		Versions: map[string]string{"go": "go1.26", arcaName: "arca", "vault": "Vault v1"},
		Settings: settings{Connections: 64, Rounds: 5, Seconds: 1, Secrets: 1000},
		Rows: []recordedRow{
			{Row: getRow, Contender: arcaName, Rate: 12345, Spread: 3, P50: 4000, P99: 9100, CPU: 80},
			{Row: getRow, Contender: "vault", Rate: 999},
			{Row: getRow, Contender: syncedName, Rate: 16000},
			{Row: getRow + halfLoad, Contender: arcaName, Rate: 6172, P50: 1000, P99: 2500},
		},
		Ratios: []recordedRatio{
			{Name: "other", Value: 1.5, Deviation: 0.1},
			{Name: "read / synced echo", Value: 0.77, Deviation: 0.01, Aim: 0.75},
			{Name: "p99 / synced echo", Value: 3.5, Deviation: 0.2, Aim: 3, Most: true},
		},
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, []byte("before\n"+tablesBegin+"old\n"+tablesEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // writing once more changes nothing
		if err := rec.writeDoc(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + tablesBegin + `
2 cores of a processor, 8 GB, Linux 6.1, ext4; go1.26. 64 connections, 1000 secrets, 5 rounds of 1 s; 2026-01-02, commit abc.
Peers: vault: Vault v1.

| requests/s | arca | spread | p50 | p99 | CPU/request | synced echo | vault |
|---|---:|---:|---:|---:|---:|---:|---:|
| GetSecretValue | 12,345 | ±3 % | 4.00 ms | 9.10 ms | 80 µs | 16,000 | 999 |

| | | requests/s | p50 | p99 |
|---|---|---:|---:|---:|
| GetSecretValue at half load | arca | 6,172 | 1.00 ms | 2.50 ms |

| ratio | measured | rounds differ by | aim | |
|---|---:|---:|---:|---|
| read / synced echo | 0.77 | ±0.01 | ≥ 0.75 | met |
| p99 / synced echo | 3.50 | ±0.20 | ≤ 3.00 | **missed** |
| other | 1.50 | ±0.10 |  |  |

` + tablesEnd + "after\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rec.writeDoc(path); err == nil || !strings.Contains(err.Error(), "bench:begin") {
		t.Errorf("without marks: %v", err)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rec := recordOf(ratioTo(syncedName, 0.8, 0.01))
	rec.Machine = thisMachine()
	path := filepath.Join(t.TempDir(), "recorded.json")
	if err := rec.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}
